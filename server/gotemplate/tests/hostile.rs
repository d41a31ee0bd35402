//! Templates that want all of the time or all of the memory. Alone in its process, because it measures the memory of the
//! process.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use gotemplate::{Budget, Limits, Template};

/// In MiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() >> 10
}

/// The next peak counts from now.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// Parses, checks, outlines and renders. Nothing is given if that goes on for longer than it may.
fn ends(source: &str) -> Option<Result<usize, String>> {
    let (sender, receiver) = mpsc::channel();
    let source = source.to_owned();
    let limits = Limits { time: Duration::from_secs(2), ..Limits::default() };
    let work = move || {
        let ended = gotemplate::on_a_thread(&Limits { time: Duration::from_secs(60), ..limits }, move |stop| {
            let template = Template::parse("t", &source, &limits).map_err(|fault| fault.message)?;
            let _ = template.check();
            let _ = template.outlines('?');
            let budget = Budget::new(limits, stop);
            let data = budget.data(&BTreeMap::from([("a".to_owned(), "b".to_owned())]), None).unwrap();
            template.render(data, &budget, 0).map(|text| text.len()).map_err(|fault| fault.message)
        });
        let _ = sender.send(ended);
    };
    std::thread::spawn(work);
    receiver.recv_timeout(Duration::from_secs(20)).ok()?.ok()
}

fn doubling() -> String {
    let mut text = String::new();
    for level in 0..60 {
        write!(
            text,
            "{{{{ define \"t{level}\" }}}}{{{{ template \"t{0}\" }}}}{{{{ template \"t{0}\" }}}}{{{{ end }}}}",
            level + 1
        )
        .unwrap();
    }
    text + "{{ define \"t60\" }}{{ end }}{{ template \"t0\" }}"
}

fn cases() -> Vec<(&'static str, String)> {
    let many = |unit: &str, count: usize| unit.repeat(count);
    let long = "{{ $s := repeat 30000000 \"a\" }}";
    vec![
        ("templates that call each other twice, without a text", doubling()),
        ("many calls of a template at the end", many("{{ template \"x\" }}", 60_000) + "{{ define \"x\" }}a{{ end }}"),
        ("many variables", (0..60_000).map(|n| format!("{{{{ $v{n} := 1 }}}}{{{{ $v0 }}}}")).collect()),
        ("many small actions", many("{{.}}", 1_600_000)),
        ("many arguments", format!("{{{{ print {} }}}}", many("1 ", 1_000_000))),
        ("many texts", many("{{/**/}}a", 800_000)),
        ("a search that compares much at every place", format!("{long}{{{{ contains (cat (repeat 15000000 \"a\") \"b\") $s }}}}")),
        ("a replacement that compares much at every place", format!("{long}{{{{ replace (print (repeat 9000000 \"a\") \"b\") \"c\" $s }}}}")),
        ("a split that compares much at every place", format!("{long}{{{{ splitList (print (repeat 9000000 \"a\") \"b\") $s | len }}}}")),
        ("a map in its own large list, printed", ring("{{ $m }}")),
        ("a map in its own large list, as JSON", ring("{{ $m | toJson }}")),
        ("a map in its own large list, as YAML", ring("{{ $m | toYaml }}")),
        ("a map in its own large list, compared", ring("{{ deepEqual $m $n }}")),
        ("a map in its own large list, copied", ring("{{ deepCopy $m | len }}")),
        ("a map in its own large list, merged", ring("{{ merge $m $n | len }}")),
        (
            "a large map in nested ranges",
            format!(
                "{{{{ $m := dict }}}}{{{{ range until 100000 }}}}{{{{ $_ := set $m (print .) . }}}}{{{{ end }}}}{}{}",
                many("{{ range $m }}", 1_500),
                many("{{ end }}", 1_500)
            ),
        ),
        ("keys of a large map, very often", format!("{{{{ $m := dict }}}}{{{{ range until 50000 }}}}{{{{ $_ := set $m (print .) . }}}}{{{{ end }}}}{{{{ keys {} | len }}}}", many("$m ", 50_000))),
        ("a wide number, very often", "{{ printf (repeat 100000 \"%[1]01000000d\") 1 }}".to_owned()),
        ("a precise number, very often", "{{ printf (repeat 100000 \"%[1].1000000f\") 1.5 }}".to_owned()),
        ("trimming a long text", format!("{long}{{{{ trim $s | len }}}}")),
        ("quoting control characters", "{{ repeat 15000000 \"\\x01\" | quote | len }}".to_owned()),
        ("printing control characters with %q", "{{ repeat 30000000 \"\\x01\" | printf \"%q\" | len }}".to_owned()),
        ("printing control characters with %x", "{{ repeat 30000000 \"\\x01\" | printf \"% #x\" | len }}".to_owned()),
        ("control characters as JSON", "{{ repeat 30000000 \"\\x01\" | toJson | len }}".to_owned()),
        ("quotes as HTML", "{{ repeat 30000000 \"\\\"\" | html | len }}".to_owned()),
        ("angles as JavaScript", "{{ repeat 30000000 \"<\" | js | len }}".to_owned()),
        ("bytes that are not UTF-8, in upper case", "{{ repeat 30000000 \"\\xff\" | upper | len }}".to_owned()),
        ("shuffling a long text", "{{ repeat 15000000 \"a\" | shuffle | len }}".to_owned()),
        ("a long layout of a time", "{{ (toDate \"2006\" \"2024\").Format (repeat 30000000 \"1\") | len }}".to_owned()),
        ("an expression of many states", "{{ regexMatch \"(x?y?z?[a-q]?){200}!\" (repeat 10000000 \"xyza\") }}".to_owned()),
        ("an expression of Unicode's letters", "{{ regexMatch \"(\\\\pL\\\\pN?){40}!\" (repeat 10000000 \"xyzä\") }}".to_owned()),
        ("an expression that looks at all of the rest again", "{{ regexFindAll \".*[^A-Z]|[A-Z]\" (repeat 2000000 \"A\") -1 | len }}".to_owned()),
        ("expressions that are all different", "{{ range until 100000 }}{{ $_ := regexMatch (printf \"(?i)[a-z]{100}%d\" .) \"x\" }}{{ end }}".to_owned()),
        ("a long version", "{{ semver (print \"1.2.3-\" (repeat 30000000 \"a\")) }}".to_owned()),
        ("a long constraint", "{{ semverCompare (repeat 3000000 \">1 \") \"1.2.3\" }}".to_owned()),
        ("a long address", "{{ urlParse (print \"http://h/\" (repeat 20000000 \"é\")) | len }}".to_owned()),
        ("aliases of aliases in YAML", "{{ $y := \"a: &a [x,x,x,x,x,x,x,x,x]\\n\" }}{{ $last := \"a\" }}{{ range splitList \"\" \"bcdefghijkl\" }}{{ $y = print $y . \": &\" . \" [\" (repeat 8 (print \"*\" $last \",\")) \"*\" $last \"]\\n\" }}{{ $last = . }}{{ end }}{{ fromYaml $y | len }}".to_owned()),
        ("deep YAML", "{{ fromYaml (repeat 1000000 \"[\") }}".to_owned()),
        ("deep JSON", "{{ mustFromJson (repeat 1000000 \"[\") }}".to_owned()),
        ("a list that grows by copies", "{{ $l := list }}{{ range until 100000 }}{{ $l = append $l . }}{{ end }}{{ len $l }}".to_owned()),
        ("a text that doubles", "{{ $s := \"a\" }}{{ range until 100 }}{{ $s = print $s $s }}{{ end }}".to_owned()),
        ("a list that doubles", "{{ $l := list 1 }}{{ range until 100 }}{{ $l = concat $l $l }}{{ end }}".to_owned()),
        ("lists of lists, printed", "{{ $l := list 1 }}{{ range until 100 }}{{ $l = list $l $l }}{{ end }}{{ print $l | len }}".to_owned()),
        ("maps of maps, as YAML", "{{ $l := dict \"a\" 1 }}{{ range until 100 }}{{ $l = dict \"a\" $l \"b\" $l }}{{ end }}{{ toYaml $l | len }}".to_owned()),
        ("a template that calls itself", "{{ define \"r\" }}{{ template \"r\" }}{{ end }}{{ template \"r\" }}".to_owned()),
        ("ranges without an end", "{{ range 9223372036854775807 }}{{ range 9223372036854775807 }}{{ end }}{{ end }}".to_owned()),
        ("nested parentheses", format!("{{{{ {}1{} }}}}", many("(", 200_000), many(")", 200_000))),
        ("many branches", format!("{{{{ if 1 }}}}{}{{{{ end }}}}", many("{{ else if 1 }}", 100_000))),
        ("wrapping", format!("{long}{{{{ wrapWith 1 (repeat 1000 \"-\") $s | len }}}}")),
        ("indenting", "{{ indent 1000000 (repeat 1000000 \"\\n\") | len }}".to_owned()),
        ("sorting long keys for YAML", "{{ $d := dict }}{{ range until 600 }}{{ $_ := set $d (print (repeat 30000 \"a\") .) 1 }}{{ end }}{{ toYaml $d | len }}".to_owned()),
        ("passwords", "{{ range until 1000 }}{{ $_ := derivePassword 1 \"long\" \"a\" \"b\" \"c\" }}{{ end }}".to_owned()),
        ("hashes of passwords", "{{ range until 1000 }}{{ $_ := bcrypt \"a\" }}{{ end }}".to_owned()),
    ]
}

fn ring(end: &str) -> String {
    let one =
        |name: &str| format!("{{{{ ${name} := dict }}}}{{{{ $_ := set ${name} \"l\" (concat (list ${name}) (until 200000)) }}}}");
    if end.contains("$n") {
        one("m").replace("200000", "90000") + &one("n").replace("200000", "90000") + end
    } else {
        one("m") + end
    }
}

#[test]
fn no_template_takes_all_of_the_time_or_of_the_memory() {
    const MOST_MIB: usize = 250;
    let mut wrong = Vec::new();
    // Without optimisation one password takes as long as all of a rendering may.
    for (case, source) in cases().into_iter().filter(|(case, _)| *case != "passwords" || !cfg!(debug_assertions)) {
        forget_peak();
        let before = peak();
        let began = Instant::now();
        let ended = ends(&source);
        let (took, more) = (began.elapsed(), peak().saturating_sub(before));
        let shown = ended.as_ref().map(|ended| ended.clone().map_err(|text| text.chars().take(100).collect::<String>()));
        println!("{:5.1} s {more:5} MiB  {case}: {shown:?}", took.as_secs_f64());
        if ended.is_none() || more > MOST_MIB {
            wrong.push(format!("{case}: {took:?}, {more} MiB"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
