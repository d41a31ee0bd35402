//! The cases from the field, and a few thousand generated ones. Each one has the output of Go's engine beside it.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::collections::BTreeMap;
use std::time::Duration;

use gotemplate::{Budget, Limits, Template};
use serde_json::Value;

fn limits() -> Limits {
    Limits { time: Duration::from_secs(60), ..Limits::default() }
}

/// Renders in the same way as the server.
fn render(source: &str, data: &Value) -> Result<Vec<u8>, String> {
    let (source, data) = (source.to_owned(), data.clone());
    gotemplate::on_a_thread(&limits(), move |stop| {
        let template = Template::parse("workflow-template", &source, &limits()).map_err(|fault| fault.text)?;
        let budget = Budget::new(limits(), stop);
        let map: BTreeMap<String, String> = serde_json::from_value(data["hardwareMap"].clone()).unwrap();
        let data = budget.data(&map, data.get("hardware")).unwrap();
        template.render(data, &budget, 0).map_err(|fault| fault.text)
    })
    .unwrap()
}

#[test]
fn templates_from_the_field_render_as_go_renders_them() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("cases.json")).unwrap();
    for case in cases.iter().filter(|case| case["mode"] == "render") {
        let rendered = render(case["template"].as_str().unwrap(), &case["data"]);
        let expected = match case["go"]["ok"].as_bool().unwrap() {
            true => Ok(case["go"]["out"].as_str().unwrap().as_bytes().to_vec()),
            false => Err(case["go"]["error"].as_str().unwrap().to_owned()),
        };
        assert_eq!(rendered, expected, "{}", case["id"]);
    }
}

#[test]
fn the_functions_are_exactly_those_of_upstream() {
    const GO: [&str; 19] = [
        "and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print", "printf",
        "println", "slice", "urlquery",
    ];
    let mut upstream: Vec<&str> = include_str!("go/functions.txt").lines().chain(GO).collect();
    upstream.sort_unstable();
    upstream.dedup();
    assert_eq!(gotemplate::function_names(), upstream);
}

#[test]
fn the_page_about_templates_names_every_function() {
    let page = include_str!("../../../docs/templates.md");
    let missing: Vec<&str> =
        gotemplate::function_names().into_iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/templates.md does not name {missing:?}");
}

/// One answer of Go's engine: a template, and its text, its bytes in hexadecimal, or its error.
#[derive(serde::Deserialize)]
struct Answer {
    t: String,
    o: Option<String>,
    b: Option<String>,
    e: Option<String>,
}

#[test]
fn generated_templates_render_as_go_renders_them() {
    let data: Value = serde_json::from_str(include_str!("go/data.json")).unwrap();
    let answers: Vec<Answer> = include_str!("go/answers.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(answers.len() >= 2_000);
    let mut wrong = Vec::new();
    for answer in &answers {
        let hex =
            |text: String| (0..text.len() / 2).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap()).collect();
        let expected = match (&answer.o, &answer.b, &answer.e) {
            (Some(text), ..) => Ok(text.clone().into_bytes()),
            (_, Some(bytes), _) => Ok(hex(bytes.clone())),
            (.., error) => Err(error.clone().unwrap()),
        };
        let rendered = render(&answer.t, &data);
        if rendered != expected {
            let shown = |result: &Result<Vec<u8>, String>| {
                result.as_ref().map(|text| String::from_utf8_lossy(text).into_owned()).map_err(Clone::clone)
            };
            wrong.push(format!("{}\n    here {:?}\n    go   {:?}", answer.t, shown(&rendered), shown(&expected)));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), answers.len(), wrong.join("\n"));
}
