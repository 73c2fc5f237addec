//! Canonical JSON against another implementation.

use proptest::prelude::*;
use serde_json::Value;

use crate::audit::canonical::*;

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-((1_i64 << 53) - 1)..(1_i64 << 53)).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[\\x00-\\x7f]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn writing_agrees_with_another_implementation(value in json()) {
        let mut ours = Vec::new();
        write(&value, &mut ours).unwrap();
        prop_assert_eq!(&ours, &serde_json_canonicalizer::to_vec(&value).unwrap());
        prop_assert_eq!(check(&ours), Ok(()));
    }

    #[test]
    fn what_passes_is_what_writing_again_gives(
        value in json(), place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = Vec::new();
        write(&value, &mut bytes).unwrap();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let canonical = serde_json::from_slice::<Value>(&bytes).ok().and_then(|value| {
            let mut again = Vec::new();
            write(&value, &mut again).ok().map(|()| again)
        });
        prop_assert_eq!(check(&bytes).is_ok(), canonical.as_ref() == Some(&bytes));
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = check(&bytes);
    }
}

#[test]
fn other_spellings_are_refused() {
    for bad in [
        " {}",
        "{} ",
        "{\"a\": 1}",
        "{\"b\":1,\"a\":1}",
        "{\"a\":1,\"a\":1}",
        "1.0",
        "1e3",
        "-0",
        "01",
        "9007199254740992",
        "\"\\/\"",
        "\"\\u0041\"",
        "\"\\u000A\"",
        "\"\\u001F\"",
        "\"\\u000a\"",
        "\"\\ud83d\\ude00\"",
        "\"\u{1}\"",
        "[1,]",
        "[",
        "",
        "nul",
        "\"",
        "{\"a\"}",
        // U+FB33 sorts after U+1F600 in UTF-16, before it in UTF-8.
        "{\"\u{fb33}\":1,\"\u{1f600}\":2}",
    ] {
        assert!(check(bad.as_bytes()).is_err(), "{bad}");
    }
    let deep = "[".repeat(DEPTH_MAX + 1) + &"]".repeat(DEPTH_MAX + 1);
    assert!(check(deep.as_bytes()).is_err());
    assert!(check(&deep.as_bytes()[1..deep.len() - 1]).is_ok());
    assert!(check("{\"\u{1f600}\":2,\"\u{fb33}\":1}".as_bytes()).is_ok());
    assert!(write(&serde_json::json!(1.5), &mut Vec::new()).is_err());
    assert!(write(&serde_json::json!(u64::MAX), &mut Vec::new()).is_err());
}
