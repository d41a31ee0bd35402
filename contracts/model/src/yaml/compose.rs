//! Parser events to nodes: several documents, aliases, merge keys, duplicate keys refused, everything within bounds.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use granit_parser::{Event, Marker, Options, Parser, ScalarStyle, Span, StrInput, Tag};

use super::{Content, Key, MAX_BYTES, MAX_DEPTH, MAX_NODES, Node, Place};
use crate::Mistake;

/// What a key means that a mapping gives twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twice {
    Mistake,
    /// As go-yaml 2 has it.
    LastWins,
}

/// Every document of a text. A broken document is a mistake, and reading continues behind it.
#[must_use]
pub fn documents(text: &str, file: &str, twice: Twice) -> (Vec<Rc<Node>>, Vec<Mistake>) {
    let mut composer = Composer::new(text, file, twice);
    if text.len() > MAX_BYTES {
        composer.report(START, format!("the text has {} bytes; at most {MAX_BYTES} are read", text.len()));
        return (Vec::new(), composer.mistakes);
    }
    let mut found = Vec::new();
    loop {
        match composer.document() {
            Ok(Some(node)) => found.push(node),
            Ok(None) => break,
            Err(Broken) if composer.exhausted() || !composer.skip_document() => break,
            Err(Broken) => {}
        }
    }
    (found, composer.mistakes)
}

const START: Place = Place { line: 1, column: 1 };

/// The document cannot be read further; the mistake is recorded.
struct Broken;

struct Composer<'t> {
    parser: Parser<'t, StrInput<'t>>,
    file: &'t str,
    twice: Twice,
    /// The last line, when no line break ends it: a block scalar that ends there has none either.
    unended: Option<usize>,
    /// Where the last event ended.
    end_line: usize,
    anchors: HashMap<usize, Rc<Node>>,
    weight: usize,
    mistakes: Vec<Mistake>,
}

fn place(marker: Marker) -> Place {
    Place { line: marker.line().max(1), column: marker.col() + 1 }
}

impl<'t> Composer<'t> {
    fn new(text: &'t str, file: &'t str, twice: Twice) -> Self {
        let mut options = Options::default();
        options.set_emit_comments(false);
        let parser = Parser::new_from_str_with_options(text, options);
        let unended = (!text.is_empty() && !text.ends_with('\n')).then(|| 1 + text.matches('\n').count());
        Self { parser, file, twice, unended, end_line: 0, anchors: HashMap::new(), weight: 0, mistakes: Vec::new() }
    }

    fn report(&mut self, at: Place, message: impl Into<String>) {
        self.mistakes.push(at.mistake(self.file, "", message));
    }

    fn broken(&mut self, at: Place, message: impl Into<String>) -> Broken {
        self.report(at, message);
        Broken
    }

    fn exhausted(&self) -> bool {
        self.weight > MAX_NODES || self.mistakes.len() > 200
    }

    fn skip_document(&mut self) -> bool {
        self.parser.proceed_next_document().unwrap_or(false)
    }

    fn next(&mut self) -> Result<(Event<'t>, Place), Broken> {
        match self.parser.next_event() {
            Some(Ok((event, Span { start, end, .. }))) => {
                self.end_line = end.line();
                Ok((event, place(start)))
            }
            Some(Err(error)) => {
                let deep = error.info().contains("recursion limit"); // the parser's own limit comes before MAX_DEPTH
                let info = if deep { format!("nested deeper than {MAX_DEPTH} levels") } else { error.info().to_owned() };
                Err(self.broken(place(*error.marker()), info))
            }
            None => Ok((Event::StreamEnd, START)),
        }
    }

    fn document(&mut self) -> Result<Option<Rc<Node>>, Broken> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(None),
                (Event::DocumentStart(..), _) => {
                    self.anchors.clear();
                    let (event, at) = self.next()?;
                    let node = self.node(event, at, 0)?;
                    if !node.is_null() {
                        return Ok(Some(node)); // an empty document, as after a trailing `---`, is nothing
                    }
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, event: Event<'t>, at: Place, depth: usize) -> Result<Rc<Node>, Broken> {
        if depth > MAX_DEPTH {
            return Err(self.broken(at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let (anchor, content) = match event {
            Event::Alias(id) => return self.alias(id, at),
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = style != ScalarStyle::Plain && !self.says_value(tag.as_deref());
                let plain = !self.says_text(tag.as_deref(), at) && !quoted;
                let mut text = text.into_owned();
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                if block && self.unended.is_some_and(|last| self.end_line >= last) && text.ends_with('\n') {
                    text.pop();
                }
                (anchor, Content::Scalar { text, plain })
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.says_text(tag.as_deref(), at);
                (anchor, Content::List(self.list(depth)?))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.says_text(tag.as_deref(), at);
                (anchor, Content::Map(self.map(depth)?))
            }
            _ => return Err(self.broken(at, "a value was expected here")),
        };
        let weight = match &content {
            Content::Scalar { text, .. } => 1 + text.len() / 64,
            Content::List(items) => items.iter().fold(1, |sum, item| sum + item.weight),
            Content::Map(entries) => entries.iter().fold(1, |sum, (_, value)| sum + 1 + value.weight),
        };
        self.spend(1 + if let Content::Scalar { text, .. } = &content { text.len() / 64 } else { 0 }, at)?;
        let node = Rc::new(Node { place: at, content, weight });
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }

    fn spend(&mut self, weight: usize, at: Place) -> Result<(), Broken> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > MAX_NODES {
            Err(self.broken(at, format!("more than {MAX_NODES} values, aliases counted as often as used")))
        } else {
            Ok(())
        }
    }

    fn alias(&mut self, id: usize, at: Place) -> Result<Rc<Node>, Broken> {
        let Some(node) = self.anchors.get(&id).cloned() else {
            return Err(self.broken(at, "this alias names a value that contains it"));
        };
        self.spend(node.weight, at)?;
        Ok(node)
    }

    /// Go takes a quoted scalar with such a tag for a value.
    fn says_value(&self, tag: Option<&Tag>) -> bool {
        let suffix = tag.and_then(Tag::core_suffix);
        self.twice == Twice::LastWins && matches!(suffix, Some("int" | "float" | "bool" | "null"))
    }

    /// Whether the tag makes a plain scalar text. Tags other than YAML's are refused; Go knows `!!binary`, and takes what has
    /// any other for text.
    fn says_text(&mut self, tag: Option<&Tag>, at: Place) -> bool {
        let Some(tag) = tag else { return false };
        if self.twice == Twice::LastWins && tag.core_suffix().is_none() && !tag.original().ends_with("binary") {
            return true;
        }
        if tag.core_suffix().is_none() && tag.original() != "!" {
            self.report(at, format!("the tag {} is not known here", tag.original()));
        }
        tag.core_suffix() == Some("str") || tag.original() == "!"
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Rc<Node>>, Broken> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, at) => items.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(Key, Rc<Node>)>, Broken> {
        let (mut own, mut merged, mut seen) = (Vec::new(), Vec::new(), HashMap::<String, usize>::new());
        loop {
            let (event, at) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(event, at, depth + 1)?;
            let (event, value_at) = self.next()?;
            let value = self.node(event, value_at, depth + 1)?;
            let Content::Scalar { text, plain } = &key.content else {
                self.report(at, "a key must be a single value");
                continue;
            };
            if *plain && text == "<<" {
                self.merge(&value, &mut merged);
                continue;
            }
            let entry = (Key { text: text.clone(), plain: *plain, place: at }, value);
            match seen.get(text).and_then(|index| own.get_mut(*index)) {
                None => {
                    seen.insert(text.clone(), own.len());
                    own.push(entry);
                }
                Some(first) if self.twice == Twice::LastWins => *first = entry,
                Some((first, _)) => {
                    let message = format!("key {text:?} is given twice, first in line {}", first.place.line);
                    self.report(at, message);
                }
            }
        }
        let mut known: HashSet<String> = seen.into_keys().collect();
        own.extend(merged.into_iter().filter(|(key, _)| known.insert(key.text.clone())));
        Ok(own)
    }

    /// `<<: *defaults` or `<<: [*a, *b]`: entries for keys that are not given otherwise, the first mapping winning.
    fn merge(&mut self, value: &Node, merged: &mut Vec<(Key, Rc<Node>)>) {
        match &value.content {
            Content::Map(entries) => merged.extend(entries.iter().cloned()),
            Content::List(items) if items.iter().all(|item| matches!(item.content, Content::Map(_))) => {
                for item in items {
                    if let Content::Map(entries) = &item.content {
                        merged.extend(entries.iter().cloned());
                    }
                }
            }
            _ => self.report(value.place, "`<<` takes a mapping or a list of mappings"),
        }
    }
}
