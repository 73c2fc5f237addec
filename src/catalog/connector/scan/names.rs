//! Names that belong to others, or look as if they did.

use unicode_security::confusable_detection::skeleton;

use super::super::report::Severity;
use super::super::{Launch, composio};
use super::{Found, Material, Subject};

/// Longest name on the wire, in bytes (model APIs).
const WIRE_MAX: usize = 64;

pub(super) fn tool(subject: &Subject<'_>, material: &Material<'_>, found: &mut Found) {
    let name = subject.name;
    let own = &material.connector.name;
    let wire = format!("{own}__{name}");
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let odd = name.contains("__") || name.starts_with('_') || name.ends_with('_');
    if wire.len() > WIRE_MAX || odd || !name.bytes().all(letter) {
        found.add(
            "unusable-name",
            subject,
            Severity::Medium,
            "",
            "model APIs do not take this name, or it could be read as another",
            Some(&wire),
            "at most 64 of a-z, A-Z, 0-9, `-` and `_` together with the connector's name: give the \
             connector a shorter one, or agents see the tool under another name",
        );
    }
    if !name.is_ascii() {
        found.add(
            "look-alike-name",
            subject,
            Severity::High,
            "",
            "the name has letters that look like others",
            Some(name),
            "names of tools are plain ASCII everywhere: do not use it",
        );
    }
    if let Launch::Remote { toolkits, .. } = &material.connector.launch
        && !toolkits.is_empty()
        && !composio::is_of(name, toolkits)
    {
        found.add(
            "outside-toolkits",
            subject,
            Severity::High,
            "remote.toolkits",
            "the tool is of no toolkit that the manifest names",
            Some(&toolkits.join(", ")),
            composio::HINT,
        );
    }
    for (connector, tools) in material.others {
        if tools.iter().any(|other| other == name) {
            found.add(
                "shadowed-name",
                subject,
                Severity::Medium,
                "",
                &format!("connector `{connector}` has a tool of the same name"),
                None,
                "agents see both with their connectors' names before them; use no `prefix = false`",
            );
        } else if let Some(other) = tools.iter().find(|other| alike(other, name)) {
            found.add(
                "look-alike-name",
                subject,
                Severity::High,
                "",
                &format!("it looks like the tool `{other}` of connector `{connector}`"),
                Some(name),
                "one of the two wants to be taken for the other",
            );
        }
    }
    let beside = material.tools.raw.keys();
    if let Some(other) = beside
        .into_iter()
        .find(|other| *other != name && skeleton_of(other) == skeleton_of(name))
    {
        found.add(
            "look-alike-name",
            subject,
            Severity::High,
            "",
            &format!("it looks like the tool `{other}` beside it"),
            Some(name),
            "one of the two wants to be taken for the other",
        );
    }
}

pub(super) fn connector(material: &Material<'_>, found: &mut Found) {
    let own = &material.connector.name;
    let whole = Subject::whole();
    for other in material.others.keys() {
        if other == own {
            found.add(
                "shadowed-name",
                &whole,
                Severity::High,
                "name",
                &format!("there is a connector `{other}` already"),
                None,
                "import it under another name",
            );
        } else if skeleton_of(other) == skeleton_of(own) {
            found.add(
                "look-alike-name",
                &whole,
                Severity::High,
                "name",
                &format!("the name looks like that of connector `{other}`"),
                None,
                "import it under another name",
            );
        }
    }
}

/// Not the same, but people and models would take one for the other.
fn alike(one: &str, other: &str) -> bool {
    one != other && (skeleton_of(one) == skeleton_of(other) || (one.len() >= 6 && near(one, other)))
}

/// What a name looks like (UTS 39), without the separators and cases that people do not tell apart.
fn skeleton_of(name: &str) -> String {
    let look: String = skeleton(name).collect();
    let plain = look.chars().filter(|c| !matches!(c, '-' | '_' | '.' | ' '));
    plain.flat_map(char::to_lowercase).collect()
}

/// One letter more, less or other (restricted edit distance 1).
fn near(one: &str, other: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let same = short.iter().zip(&long).take_while(|(x, y)| x == y).count();
    let rest = |from: usize| long.get(from..).unwrap_or_default();
    let tail = |from: usize| short.get(from..).unwrap_or_default();
    match long.len() - short.len() {
        // An `s` at the end is another word, not another spelling.
        1 => tail(same) == rest(same + 1) && rest(same) != ['s'],
        0 => {
            let digit = |all: &[char]| all.get(same).is_some_and(char::is_ascii_digit);
            // `step_1` and `step_2` are told apart.
            tail(same + 1) == rest(same + 1) && !(digit(&short) && digit(&long))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_do() {
        for (one, other) in [
            ("read_file", "read-file"),
            ("read_file", "readFile"),
            ("read_file", "re\u{430}d_file"),
            ("read_file", "read_fi1e"),
            ("read_file", "read_flle"),
            ("search", "serch"),
        ] {
            assert!(alike(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("read_file", "read_file"),
            ("read_file", "read_files"),
            ("read_file", "write_file"),
            ("step_one_1", "step_one_2"),
            ("get", "set"),
            ("list", "mist"),
        ] {
            assert!(!alike(one, other), "{one} {other}");
        }
    }
}
