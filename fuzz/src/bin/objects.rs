//! Any text as objects of both versions: it is read, and reading its JSON gives the same objects, or it is refused with
//! positions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Document, Object, parse_documents};

const HEADS: [&str; 6] = [
    "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {name: h}\nspec:\n",
    "apiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec:\n  templateRef: t\n",
    "apiVersion: tinkerbell.org/v1alpha2\nkind: Task\nmetadata: {name: t}\nspec:\n",
    "apiVersion: tinkerbell.org/v1alpha2\nkind: Workflow\nmetadata: {name: w}\nspec:\n",
    "apiVersion: tinkerbell.org/v1alpha2\nkind: Policy\nmetadata: {name: p}\nspec:\n",
    "",
];

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for head in HEADS {
        read(&format!("{head}{text}"));
    }
    let _ = model::ignored_objects(text, "f");
    let _ = model::ignored_keys(text);
    for text in
        [text.to_owned(), format!("name: n\ntasks:\n- name: t\n  worker: w\n  actions:\n  - name: a\n    image: i\n{text}")]
    {
        let outline = Document::outline(&text, '⁇', "f");
        assert!(outline.iter().all(|mistake| mistake.line > 0));
        if let Err(mistakes) = Document::parse(&text, "f") {
            assert!(!mistakes.is_empty());
        }
    }
});

fn read(text: &str) {
    match parse_documents(text, "f") {
        Err(mistakes) => assert!(!mistakes.is_empty() && mistakes.len() < 100_000),
        Ok(objects) => objects.iter().for_each(again),
    }
}

fn again(object: &Object) {
    let json = serde_json::to_string(object).unwrap();
    let read = parse_documents(&json, "f").unwrap_or_else(|mistakes| panic!("{mistakes:?} in {json}"));
    assert_eq!(read.len(), 1);
    assert_eq!(&read[0], object, "{json}");
}
