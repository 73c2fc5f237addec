use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::*;
use crate::jail::{ABI_FLOOR, TOO_OLD};

/// What a file without a place on the host says is wrong, with its hint.
fn told(text: &str) -> String {
    let error = Draft::parse(text, "m.toml").unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    let hint = error
        .hint_text()
        .unwrap_or_else(|| panic!("no hint: {error}"));
    format!("{}\nhint: {hint}", error.message())
}

fn foreign(rest: &str) -> String {
    told(&format!("class = \"foreign\"\n{rest}"))
}

/// A host that has everything.
fn host() -> Host {
    Host {
        root: true,
        landlock_abi: ABI_FLOOR,
        proc: true,
        lenient: false,
        no_user_namespaces: None,
        missing: Vec::new(),
        own: Vec::new(),
        given: Vec::new(),
    }
}

#[test]
fn a_whole_file_is_read() {
    let text = r#"
        class = "foreign"
        ro = ["/usr", "/lib//x/."]
        rw = ["/srv/work"]
        net = ["api.example.net:443", "[2001:db8::1]:80",
               { host = "db.internal", port = 5432, private = ["10.0.0.0/8"] }]
        dir = "/srv/work"
        loopback = true
        [env]
        LANG = "C.UTF-8"
        [limits]
        wall_s = 5
        memory_mib = 64
    "#;
    let manifest = Draft::parse(text, "m.toml").unwrap().into_manifest();
    assert_eq!(manifest.class, Class::Foreign);
    assert_eq!(manifest.ro, [PathBuf::from("/usr"), "/lib/x".into()]);
    assert_eq!(manifest.rw, [PathBuf::from("/srv/work")]);
    assert_eq!(manifest.dir, Some("/srv/work".into()));
    let net: Vec<String> = manifest.net.iter().map(ToString::to_string).collect();
    assert_eq!(
        net,
        [
            "api.example.net:443",
            "[2001:db8::1]:80",
            "db.internal:5432"
        ]
    );
    assert_eq!(manifest.net[2].private, ["10.0.0.0/8"]);
    assert!(manifest.loopback && !manifest.whole_proc && manifest.observe);
    assert_eq!(manifest.env["LANG"], "C.UTF-8");
    assert_eq!(
        (manifest.limits.wall_ms, manifest.limits.memory),
        (5_000, 64 << 20)
    );
    assert_eq!(
        manifest.limits.cpu_s,
        Manifest::of(Class::Foreign).limits.cpu_s
    );
}

#[test]
fn what_is_printed_reads_back_as_the_same() {
    let text = "class = \"foreign\"\nro = [\"/a \\\"b\\\\\\u00e4\"]\nrw = [\"/w\"]\nwhole_proc = true\n\
                dir = \"/w\"\nnet = [\"a.example:1\", {host = \"b.example\", port = 2, private = [\"10.0.0.0/8\"]}]\n\
                [env]\nX = \"a\\n\\u001b\"\n[limits]\nprocesses = 7\n";
    for text in [
        text,
        "class = \"native\"",
        "class = \"native-generic\"\nobserve = true",
    ] {
        let once = Draft::parse(text, "m").unwrap().into_manifest();
        let again = Draft::parse(&toml(&once), "m").unwrap().into_manifest();
        assert_eq!(again, once);
    }
}

#[test]
fn mistakes_name_file_line_and_mend() {
    let unknown = foreign("rw = []\nreadonly = [\"/usr\"]");
    assert!(
        unknown.starts_with("`m.toml` line 3: unknown field `readonly`"),
        "{unknown}"
    );
    for (text, what) in [
        ("", "missing field `class`"),
        (
            "class = \"foreign\"\nclass = \"native\"",
            "line 2: duplicate key",
        ),
        (
            "class = \"Foreign\"",
            "line 1: `Foreign` is no class of jails",
        ),
        (
            "class = \"native\"\nro = [\"/usr\"]",
            "line 2: `ro` has no meaning in class `native`",
        ),
        (
            "class = \"native-generic\"\ndir = \"/x\"",
            "line 2: `dir` has no meaning",
        ),
        (
            "class = \"native\"\nnet = [\"a.example:1\"]",
            "line 2: `net` has no meaning",
        ),
        (
            "class = \"native\"\n[limits]\nprocesses = 2",
            "line 3: a native jail is one process",
        ),
        (
            "class = \"native-generic\"\n[limits]\ntmp_mib = 2",
            "line 3: class `native-generic` has no files",
        ),
    ] {
        let told = told(text);
        assert!(told.contains(what), "{text}: {told}");
    }
}

#[test]
fn paths_variables_and_limits_have_one_form() {
    for (text, what) in [
        ("ro = [\"usr\"]", "line 2: the path `usr` is not absolute"),
        (
            "ro = [\"/usr/../etc\"]",
            "line 2: the path `/usr/../etc` holds `..`",
        ),
        ("ro = [\"/a\\u0000b\"]", "holds a NUL"),
        ("ro = [\n\"/usr\",\n\"x\"]", "line 4: the path `x`"),
        (
            "[env]\n\"A B\" = \"\"",
            "line 3: `A B` is no name of a variable",
        ),
        ("[env]\n1A = \"\"", "`1A` is no name of a variable"),
        (
            "[env]\nhttps_proxy = \"\"",
            "line 3: Keepgate itself sets `https_proxy`",
        ),
        ("[env]\nNO_PROXY = \"\"", "Keepgate itself sets `NO_PROXY`"),
        ("[env]\nA = \"\\u0000\"", "holds a NUL"),
        ("[env]\nA = 1", "line 3: invalid type"),
        (
            "[limits]\nwall_s = 0",
            "line 3: `wall_s` 0 is out of bounds",
        ),
        ("[limits]\nwall_s = 86401", "out of bounds"),
        ("[limits]\nmemory_mib = -1", "line 3: invalid value"),
        ("[limits]\ncpu = 1", "line 3: unknown field `cpu`"),
        (
            "observe = false",
            "line 2: foreign jails are always observed",
        ),
    ] {
        let told = foreign(text);
        assert!(told.contains(what), "{text}: {told}");
    }
    let many: Vec<String> = (0..=MANY).map(|n| format!("\"/d{n}\"")).collect();
    let told = foreign(&format!("ro = [{}]", many.join(",")));
    assert!(told.contains("more than 128 paths"), "{told}");
    // Not special: see the module.
    Draft::parse(
        "class = \"foreign\"\n[env]\nLD_LIBRARY_PATH = \"/opt/lib\"",
        "m",
    )
    .unwrap();
}

#[test]
fn ways_out_are_as_egress_reads_them() {
    for (net, what) in [
        ("\"api.example.net\"", "has no port"),
        (
            "\"api.example.net:https\"",
            "the port of `api.example.net:https` is none",
        ),
        ("\"api.example.net:0443\"", "is none"),
        ("\"api.example.net:0\"", "is none"),
        ("\"API.example.net:443\"", "write `api.example.net`"),
        ("\"example.net.:443\"", "write `example.net`"),
        ("\"*.example.net:443\"", "does not work"),
        ("\"a\\u0000.example:443\"", "does not work"),
        ("\"b\u{fc}cher.example:443\"", "does not work"),
        ("\"0x7f.1:80\"", "does not work"),
        ("\"127.1:80\"", "does not work"),
        ("\"user@example.net:80\"", "does not work"),
        ("\"2001:db8::1:80\"", "can be read in two ways"),
        ("{ host = \"a.example\" }", "missing field `port`"),
        (
            "{ host = \"a.example\", port = 1, proto = \"tcp\" }",
            "unknown field `proto`",
        ),
        (
            "{ host = \"a.example\", port = 1, private = [\"10.0.0.1/8\"] }",
            "no network",
        ),
        ("7", "no way out"),
        (
            "\"a.example:1\", \"a.example:1\"",
            "is there already (`m.toml` line 2)",
        ),
    ] {
        let told = foreign(&format!("net = [{net}]"));
        assert!(
            told.starts_with("`m.toml` line 2: ") && told.contains(what),
            "{net}: {told}"
        );
    }
}

/// A directory of files for manifests to name.
struct Scene {
    _temp: tempfile::TempDir,
    dir: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let temp = tempfile::Builder::new().tempdir_in("/var/tmp").unwrap();
        let dir = temp.path().canonicalize().unwrap();
        for name in ["work/inner", "lib", "own/state"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        fs::write(dir.join("file"), b"").unwrap();
        fs::write(dir.join("secret"), b"").unwrap();
        let private = fs::Permissions::from_mode(0o640);
        fs::set_permissions(dir.join("secret"), private).unwrap();
        Self { _temp: temp, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn check(&self, text: &str) -> Result<Manifest> {
        let text = text.replace('@', self.dir.to_str().unwrap());
        let host = Host {
            own: vec![self.path("own/state"), self.path("own/none")],
            ..host()
        };
        Draft::parse(&format!("class = \"foreign\"\n{text}"), "m.toml")?.check(&host)
    }

    fn told(&self, text: &str) -> String {
        let error = self.check(text).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        let hint = error
            .hint_text()
            .unwrap_or_else(|| panic!("no hint: {error}"));
        let told = format!("{}\nhint: {hint}", error.message());
        told.replace(self.dir.to_str().unwrap(), "@")
    }
}

#[test]
fn a_manifest_fits_its_host() {
    let scene = Scene::new();
    symlink("lib", scene.path("link")).unwrap();
    let text =
        "ro = [\"@/lib\", \"@/link\", \"@/file\"]\nrw = [\"@/work\"]\ndir = \"@/work/inner\"";
    let manifest = scene.check(text).unwrap();
    assert_eq!(manifest.ro.len(), 3);
    scene.check("dir = \"/tmp\"").unwrap();
}

#[test]
fn paths_that_are_not_there_or_not_files_are_named() {
    let scene = Scene::new();
    let link = |target: &str, name: &str| symlink(target, scene.path(name)).unwrap();
    link("b", "a");
    link("a", "b");
    link("none", "dangling");
    link("work", "towork");
    link("file", "tofile");
    let _socket = UnixListener::bind(scene.path("socket")).unwrap();
    nix::unistd::mkfifo(&scene.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (text, what) in [
        ("ro = [\"/\"]", "line 2: `/` is the whole file system"),
        ("rw = [\"/\"]", "line 2: `/` is the whole file system"),
        ("ro = [\"@/none\"]", "`@/none` does not exist"),
        ("ro = [\"@/a\"]", "is a circle of links: @/a -> @/b -> @/a"),
        (
            "ro = [\"@/dangling\"]",
            "leads nowhere: @/dangling -> @/none",
        ),
        (
            "ro = [\"@/towork/inner\"]",
            "write where it leads: `@/work/inner`",
        ),
        (
            "ro = [\"@/tofile\"]",
            "is a link to `@/file`, which the jail does not see",
        ),
        ("rw = [\"@/towork\"]", "write where it leads: `@/work`"),
        ("rw = [\"@/file\"]", "is no directory"),
        (
            "ro = [\"@/secret\"]",
            "has mode 0640: the jail's own user cannot read it",
        ),
        (
            "ro = [\"@/secret\"]",
            "has mode 0640: the jail's own user cannot read it",
        ),
        ("ro = [\"@/socket\"]", "is a socket"),
        ("ro = [\"@/fifo\"]", "is a named pipe"),
        ("rw = [\"@/fifo\"]", "is a named pipe"),
        ("ro = [\"/dev/null\"]", "has a `/dev` of its own"),
        ("rw = [\"/proc/self\"]", "has a `/proc` of its own"),
        ("ro = [\"/tmp\"]", "has a `/tmp` of its own"),
        ("dir = \"@/work\"", "is not seen in the jail"),
        ("rw = [\"@/work\"]\ndir = \"@/work/none\"", "does not exist"),
        ("ro = [\"@/file\"]\ndir = \"@/file\"", "is no directory"),
    ] {
        let told = scene.told(text);
        assert!(told.contains(what), "{text}: {told}");
    }
}

#[test]
fn one_path_has_one_meaning() {
    let scene = Scene::new();
    symlink("inner", scene.path("work/link")).unwrap();
    fs::create_dir(scene.path("work/piped")).unwrap();
    let pipe = scene.path("work/piped/pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (text, what) in [
        (
            "ro = [\"@/lib\",\n\"@/lib/\"]",
            "line 3: `@/lib` is named already (`m.toml` line 2)",
        ),
        (
            "ro = [\"@/work\"]\nrw = [\"@/work\"]",
            "line 3: `@/work` is named already",
        ),
        (
            "ro = [\"@/work/link\"]\nrw = [\"@/work\"]",
            "line 2: `@/work/link` is a symbolic link in `@/work`",
        ),
        (
            "ro = [\"@/work/piped\"]\nrw = [\"@/work\"]",
            "line 2: `@/work/piped` is to be read only and holds the named pipe `@/work/piped/pipe`",
        ),
        (
            "rw = [\"@/work\", \"@/work/inner\"]",
            "line 2: `@/work/inner` is inside of `@/work` (`m.toml` line 2)",
        ),
    ] {
        let told = scene.told(text);
        assert!(told.contains(what), "{text}: {told}");
    }
}

#[test]
fn what_may_not_be_changed_lies_within_what_may_and_the_other_way_round() {
    let scene = Scene::new();
    let closed = fs::Permissions::from_mode(0o700);
    fs::set_permissions(scene.path("work/inner"), closed).unwrap();
    fs::create_dir(scene.path("work/inner/deep")).unwrap();
    for text in [
        "ro = [\"@/work/inner\"]\nrw = [\"@/work\"]",
        "ro = [\"@/work\"]\nrw = [\"@/work/inner\"]",
        "ro = [\"@/work/inner\"]\nrw = [\"@/work\", \"@/work/inner/deep\"]",
    ] {
        let manifest = scene.check(text).unwrap();
        assert_eq!(manifest.ro.len(), 1, "{text}");
    }
    let many: Vec<String> = (0..120)
        .map(|number| {
            fs::create_dir_all(scene.path(&format!("work/a/{number}/ro"))).unwrap();
            format!("\"@/work/a/{number}/ro\"")
        })
        .collect();
    let told = scene.told(&format!("ro = [{}]\nrw = [\"@/work\"]", many.join(", ")));
    assert!(told.contains("would need 242 mounts of its own"), "{told}");
}

#[test]
fn a_manifest_is_kept_from_its_own_jail() {
    let scene = Scene::new();
    let (file, link) = (scene.path("work/inner/m.toml"), scene.path("work/m.toml"));
    let text = format!("class = \"foreign\"\nrw = [{:?}]\n", scene.path("work"));
    fs::write(&file, &text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let refused = |path: &Path| {
        let error = Draft::load(path).unwrap().check(&host()).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        format!("{}\nhint: {}", error.message(), error.hint_text().unwrap())
    };
    let told = refused(&file);
    let inner = scene.path("work/inner");
    assert!(told.contains("lies in what its jail may change"), "{told}");
    let hint = format!("keep its directory: add `{}` to `ro`", inner.display());
    assert!(told.ends_with(&hint), "{told}");
    // Itself alone may be kept, and is not when an editor puts another file in its place.
    let kept = |path: &Path| text.replacen("rw", &format!("ro = [{path:?}]\nrw"), 1);
    fs::write(&file, kept(&file)).unwrap();
    assert!(refused(&file).contains("lies in what its jail may change"));
    fs::write(&file, kept(&inner)).unwrap();
    let manifest = Draft::load(&file).unwrap().check(&host()).unwrap();
    assert_eq!(manifest.ro, std::slice::from_ref(&inner));
    // Right in what may be changed there is nothing to keep it by.
    let top = scene.path("work/top.toml");
    fs::write(&top, &text).unwrap();
    let told = refused(&top);
    let hint = format!("hint: move it out of `{}`", scene.path("work").display());
    assert!(told.ends_with(&hint), "{told}");
    fs::write(&file, &text).unwrap();
    symlink(&file, &link).unwrap();
    let error = Draft::load(&link).unwrap().check(&host()).unwrap_err();
    assert!(error.message().contains("through a link"), "{error}");
    assert!(error.hint_text().unwrap().contains("inner/m.toml"));
    // Elsewhere it is nothing to the jail.
    let outside = scene.path("m.toml");
    fs::write(&outside, text).unwrap();
    let manifest = Draft::load(&outside).unwrap();
    assert!(manifest.check(&host()).unwrap().ro.is_empty());
    // But for another name of the same file.
    fs::hard_link(&outside, scene.path("work/other")).unwrap();
    let told = refused(&outside);
    assert!(told.contains("has 2 names (hard links)"), "{told}");
    assert!(told.contains("make it a file of its own"), "{told}");
}

#[test]
fn a_kept_file_has_one_name() {
    let scene = Scene::new();
    fs::write(scene.path("work/kept"), "").unwrap();
    let text = "ro = [\"@/work/kept\", \"@/file\"]\nrw = [\"@/work\"]";
    scene.check(text).unwrap();
    // Of what is elsewhere, names do not count.
    fs::hard_link(scene.path("file"), scene.path("file2")).unwrap();
    scene.check(text).unwrap();
    fs::hard_link(scene.path("work/kept"), scene.path("work/other")).unwrap();
    let told = scene.told(text);
    assert!(
        told.contains("`@/work/kept` is to be kept and has 2 names (hard links)"),
        "{told}"
    );
    assert!(told.contains("cp -p @/work/kept @/work/kept.own"), "{told}");
}

#[test]
fn keepgates_own_files_are_never_shown() {
    let scene = Scene::new();
    fs::create_dir(scene.path("own/state/p")).unwrap();
    symlink("own/state", scene.path("sly")).unwrap();
    for text in [
        "ro = [\"@/own/state\"]",
        "ro = [\"@/own/state/p\"]",
        "rw = [\"@/own\"]",
        "ro = [\"@/sly\"]",
    ] {
        let told = scene.told(text);
        assert!(
            told.contains("would show Keepgate's own `@/own/state`"),
            "{text}: {told}"
        );
    }
    // What is not there cannot be seen.
    fs::remove_dir_all(scene.path("own/state")).unwrap();
    scene.check("ro = [\"@/own\"]").unwrap();
}

#[test]
fn what_the_kernel_lacks_is_refused_with_the_line_and_the_mend() {
    let check = |host: &Host| {
        let draft = Draft::parse("\nclass = \"foreign\"", "m.toml").unwrap();
        let told = |error: Error| {
            assert_eq!(error.kind(), Kind::Degraded);
            format!("{} | {}", error.message(), error.hint_text().unwrap())
        };
        draft.check(host).map(drop).map_err(told)
    };
    let user = |setting| Host {
        root: false,
        no_user_namespaces: Some(setting),
        ..host()
    };
    assert_eq!(check(&host()), Ok(()));
    let told = check(&user("user.max_user_namespaces=10000")).unwrap_err();
    assert!(
        told.starts_with("`m.toml` line 2: ") && told.contains("sudo sysctl user.max"),
        "{told}"
    );
    let told = check(&user("a kernel with CONFIG_USER_NS")).unwrap_err();
    assert!(told.contains("use a kernel with CONFIG_USER_NS"), "{told}");
    let rooted = Host {
        root: true,
        ..user("user.max_user_namespaces=10000")
    };
    assert_eq!(check(&rooted), Ok(()));
    let old = |landlock_abi, lenient| Host {
        landlock_abi,
        lenient,
        ..host()
    };
    assert!(check(&old(0, true)).unwrap_err().contains("lsm="));
    assert!(check(&old(5, false)).unwrap_err().contains(TOO_OLD));
    assert_eq!(check(&old(5, true)), Ok(()));
    let bare = Host {
        proc: false,
        missing: vec!["net"],
        ..host()
    };
    assert!(check(&bare).unwrap_err().contains("mount -t proc"));
    let missing = Host {
        missing: vec!["net"],
        ..host()
    };
    assert!(check(&missing).unwrap_err().contains("does not have: net"));
}

#[test]
fn the_built_in_profile_fits_this_host() {
    let draft = Draft::builtin("foreign").unwrap();
    assert!(draft.shows(Path::new("/usr/bin/env")));
    assert!(!draft.shows(Path::new("/etc/shadow")));
    let manifest = draft.check(&host()).unwrap();
    assert!(manifest.ro.contains(&"/usr".into()), "{manifest:?}");
    assert_eq!(Draft::builtin("native").unwrap().class(), Class::Native);
    assert!(Draft::builtin("Foreign").is_none());
}

#[test]
fn a_manifest_is_named_after_its_file() {
    assert_eq!(name_of(Path::new("/etc/My Tool.toml")), "my-tool");
    assert_eq!(name_of(Path::new("---.toml")), "manifest");
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("git.toml");
    fs::write(&file, "class = \"native\"").unwrap();
    assert_eq!(Draft::load(&file).unwrap().into_manifest().name, "git");
    assert!(
        Draft::load(&temp.path().join("none"))
            .unwrap_err()
            .hint_text()
            .is_some()
    );
    assert!(Draft::parse_bytes(&vec![b'#'; 300 << 10], "m").is_err());
    assert!(Draft::parse_bytes(b"\xff", "m").is_err());
}
