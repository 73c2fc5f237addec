//! What follows from declarations.

use serde_json::json;

use super::*;

fn map(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

#[test]
fn what_is_not_declared_is_the_worst() {
    let worst = Declared::default();
    assert_eq!(worst.class, EffectClass::Destructive);
    assert!(worst.class.needs_person());
    assert_eq!(worst.reversibility, Reversibility::Irreversible);
    assert_eq!(worst.parameter("any").role, Role::Target);
    assert_eq!(worst.parameter("any").kind, None);
    assert_eq!(worst.output("/any/0"), Label::Untrusted);
    assert_eq!(worst.dry_run, DryRun::None);
}

#[test]
fn the_nearest_label_counts() {
    let mut declared = Declared::default();
    declared.outputs.insert("/id".into(), Label::Trusted);
    declared.outputs.insert("/id/note".into(), Label::Untrusted);
    assert_eq!(declared.output("/id"), Label::Trusted);
    assert_eq!(declared.output("/id/0"), Label::Trusted);
    assert_eq!(declared.output("/id/note/x"), Label::Untrusted);
    assert_eq!(declared.output("/ident"), Label::Untrusted);
    assert_eq!(declared.output(""), Label::Untrusted);
}

#[test]
fn an_amount_that_cannot_be_read_is_high() {
    let rule = HighValue::Above {
        parameter: "amount".into(),
        above: 1000,
    };
    let holds = |value: Value| rule.holds(&map(value)).is_some();
    for low in [
        json!({"amount": 1000}),
        json!({"amount": "12.50"}),
        json!({"amount": 0}),
    ] {
        assert!(!holds(low.clone()), "{low}");
    }
    for high in [
        json!({}),
        json!({"amount": null}),
        json!({"amount": 1000.01}),
        json!({"amount": -5}),
        json!({"amount": "1e3"}),
        json!({"amount": "1,000"}),
        json!({"amount": ["1"]}),
        json!({"amount": {"value": 1}}),
        json!({"Amount": 1}),
    ] {
        assert!(holds(high.clone()), "{high}");
    }
    assert!(HighValue::Always.holds(&Map::new()).is_some());
}

#[test]
fn only_the_usual_texts_are_not_high() {
    let rule = HighValue::NotOneOf {
        parameter: "to".into(),
        usual: vec!["ops".into(), "dev".into()],
    };
    let holds = |value: Value| rule.holds(&map(value)).is_some();
    for low in [json!({"to": "ops"}), json!({"to": ["ops", "dev"]})] {
        assert!(!holds(low.clone()), "{low}");
    }
    for high in [
        json!({}),
        json!({"to": null}),
        json!({"to": []}),
        json!({"to": "Ops"}),
        json!({"to": ["ops", "eve"]}),
        json!({"to": [["ops"]]}),
        json!({"to": 7}),
    ] {
        assert!(holds(high.clone()), "{high}");
    }
}

#[test]
fn labels_are_of_what_is_there_and_too_many_are_of_nothing() {
    let mut declared = Declared::default();
    declared.outputs.insert("/id".into(), Label::Trusted);
    declared.outputs.insert("/at".into(), Label::Trusted);
    let labels = declared.labels(Some(&json!({"id": 7, "text": "x"})));
    assert_eq!(
        labels,
        [("", Label::Untrusted), ("/id", Label::Trusted)].into()
    );
    assert_eq!(declared.labels(None), [("", Label::Untrusted)].into());
    declared.outputs.insert(String::new(), Label::Trusted);
    for place in 0..65 {
        declared.outputs.insert(format!("/{place}"), Label::Trusted);
    }
    let all = json!((0..65).collect::<Vec<_>>());
    assert_eq!(declared.labels(Some(&all)), [("", Label::Untrusted)].into());
    assert_eq!(declared.labels(None), [("", Label::Trusted)].into());
}

#[test]
fn every_part_of_a_target_counts() {
    let mut declared = Declared::default();
    let content = Parameter {
        role: Role::Content,
        kind: None,
    };
    declared.parameters.insert("text".into(), content);
    let arguments = json!({"text": "x", "to": ["a", 7], "where": {"b": "c"}});
    assert_eq!(declared.targets(&map(arguments)), ["a", "7", "b", "c"]);
}

#[test]
fn an_undo_takes_its_arguments_from_call_result_and_manifest() {
    let undo = Undo {
        tool: "remove".into(),
        arguments: [
            ("id".to_owned(), Origin::Result("/made/id".into())),
            ("name".to_owned(), Origin::Arguments("/name".into())),
            ("why".to_owned(), Origin::Value(json!("undo"))),
        ]
        .into(),
    };
    let given = map(json!({"name": "a", "text": "b"}));
    let known = undo.arguments(&given, None).unwrap();
    assert_eq!(known, map(json!({"name": "a", "why": "undo"})));
    assert_eq!(undo.pending(), ["id"]);
    let result = json!({"made": {"id": 7}});
    let all = undo.arguments(&Map::new(), Some(&result)).unwrap();
    assert_eq!(all, map(json!({"id": 7, "why": "undo"})));
    let error = undo.arguments(&given, Some(&json!({}))).unwrap_err();
    assert!(error.contains("`/made/id`"), "{error}");
}
