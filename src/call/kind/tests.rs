//! What is of a kind, and what is not.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn of(kind: ValueKind, value: Value) -> bool {
    check(kind, &value).is_ok()
}

#[test]
fn one_reading_of_each_kind_and_no_other() {
    let long = |n: usize| "x".repeat(n);
    let cases: &[(ValueKind, &[&str], &[&str])] = &[
        (
            ValueKind::Email,
            &["a@b.example", "first.last+tag@mail.example.net", "x@host"],
            &[
                "",
                "a",
                "@b.example",
                "a@",
                "a@b@c.example",
                "Ada <a@b.example>",
                "a@b.example,c@d.example",
                "a@b.example;c@d.example",
                "a@b.example\nbcc:c@d.example",
                " a@b.example",
                "\"a b\"@b.example",
                ".a@b.example",
                "a..b@b.example",
                "a@b..example",
                "a@-b.example",
                "a@b.example.",
                "а@b.example",
                &format!("{}@b.example", long(65)),
                &format!("a@{}.example", long(64)),
            ],
        ),
        (
            ValueKind::Url,
            &["https://b.example/a?x=1", "http://b.example:8080/"],
            &[
                "b.example",
                "javascript:alert(1)",
                "file:///etc/passwd",
                "https://user@b.example/",
                "https://b.example/a b",
                "https://b.example/../x",
                "https:\\\\b.example\\",
            ],
        ),
        (
            ValueKind::Iban,
            &[
                "DE89370400440532013000",
                "GB82WEST12345698765432",
                "NO9386011117947",
            ],
            &[
                "DE89370400440532013001",
                "DE89 3704 0044 0532 0130 00",
                "de89370400440532013000",
                "1E89370400440532013000",
                "DE8937040044053201300",
                "",
                &long(34),
            ],
        ),
        (
            ValueKind::Path,
            &["/srv/a", "a/b.txt", "a..b", ".hidden"],
            &[
                "",
                "..",
                "a/../b",
                "/a/..",
                "a\\..\\b",
                "~/.ssh/id",
                "a\0b",
                "a\nb",
                &long(256),
            ],
        ),
        (
            ValueKind::Id,
            &["7", "INC-2026/7", "a:b", &long(256)],
            &["", "a b", "a\n", "é", &long(257)],
        ),
        (
            ValueKind::Person,
            &["Ada Lovelace", "@ada", "Zoë O’Neil", "李雷"],
            &[
                "",
                " ada",
                "ada\nbob",
                "ada, bob",
                "ada;bob",
                "a\u{202e}b",
                "a\u{200b}b",
                &long(129),
            ],
        ),
        (
            ValueKind::Channel,
            &["#general", "General Discussion", "ops/alerts"],
            &["", "#a,#b", "#a\u{7}", "<!channel>", &long(129)],
        ),
        (
            ValueKind::Date,
            &[
                "2026-11-23",
                "2024-02-29",
                "2026-11-23T09:12:47Z",
                "2026-11-23t09:12:47.123+01:00",
                "2026-11-23T09:12",
                "09:12",
            ],
            &[
                "",
                "tomorrow",
                "2026-02-29",
                "2026-13-01",
                "2026-11-31",
                "26-11-23",
                "2026-11-23 09:12",
                "2026-11-23T24:00:00Z",
                "2026-11-23T09:12:47+1:00",
                "2026-11-23T09:12.5Z",
                "2026-11-23T",
                "2026-11-23-01",
                "+026-11-23",
            ],
        ),
        (
            ValueKind::Amount,
            &["0", "12.50", "999999999999999.999999999"],
            &[
                "",
                "-1",
                "+1",
                "1e9",
                "1,000",
                "1.",
                ".5",
                "1 000",
                "NaN",
                "0x10",
                "1000000000000000",
            ],
        ),
    ];
    for (kind, good, bad) in cases {
        for text in *good {
            assert!(of(*kind, json!(text)), "{}: {text}", kind.name());
        }
        for text in *bad {
            assert!(!of(*kind, json!(text)), "{}: {text:?}", kind.name());
        }
    }
}

#[test]
fn lists_are_checked_one_by_one_and_other_types_are_of_no_kind() {
    assert!(of(ValueKind::Email, json!(["a@b.example", "c@d.example"])));
    assert!(of(ValueKind::Email, json!([])) && of(ValueKind::Email, json!(null)));
    let bad = check(ValueKind::Email, &json!(["a@b.example", ["x"]])).unwrap_err();
    assert_eq!(bad.at, "/1/0");
    for odd in [json!({"to": "a@b.example"}), json!(7), json!(true)] {
        assert!(!of(ValueKind::Email, odd));
    }
    let many = vec![json!("7"); VALUES_MAX + 1];
    assert_eq!(check(ValueKind::Id, &json!(many)).unwrap_err().at, "/256");
    assert!(of(ValueKind::Id, json!(-7)) && !of(ValueKind::Id, json!(7.5)));
    assert!(!of(ValueKind::Date, json!(1_795_511_567)));
}

proptest! {
    #[test]
    fn what_is_taken_has_no_second_reading(text in "[a-z.@,; <>\\n~/\\\\0-9:TZ+-]{0,24}") {
        let is = |kind| of(kind, json!(text));
        if is(ValueKind::Email) {
            prop_assert_eq!(text.matches('@').count(), 1);
            prop_assert!(!text.contains([',', ';', ' ', '<', '>', '\n']));
        }
        if is(ValueKind::Path) {
            prop_assert!(!text.split(['/', '\\']).any(|part| part == ".."));
        }
        if is(ValueKind::Amount) {
            let number: f64 = text.parse().unwrap();
            let amount = Amount::read(&json!(text)).unwrap();
            prop_assert_eq!(amount.above(10), number > 10.0);
        }
        if is(ValueKind::Date) {
            prop_assert!(text.is_ascii() && text.starts_with(|c: char| c.is_ascii_digit()));
        }
    }

    #[test]
    fn nothing_upsets_a_kind(text in any::<String>(), number in any::<f64>()) {
        for kind in ValueKind::ALL {
            of(*kind, json!(text));
            of(*kind, json!(number));
        }
    }
}

#[test]
fn amounts_are_compared_to_the_last_digit() {
    let above = |value: Value, limit| Amount::read(&value).map(|one| one.above(limit));
    for (value, limit, wanted) in [
        (json!(1000), 1000, false),
        (json!(1001), 1000, true),
        (json!(1000.5), 1000, true),
        (json!("1000"), 1000, false),
        (json!("1000.00"), 1000, false),
        (json!("1000.000000001"), 1000, true),
        (json!(999.99), 1000, false),
        (json!(0), -1, true),
        (json!(u64::MAX), i64::MAX, true),
    ] {
        assert_eq!(above(value.clone(), limit), Some(wanted), "{value}");
    }
    for unreadable in [
        json!(-1),
        json!(-0.5),
        json!(1e15),
        json!("1e3"),
        json!([1]),
        json!(null),
    ] {
        assert_eq!(Amount::read(&unreadable), None, "{unreadable}");
    }
}
