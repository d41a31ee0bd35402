//! The parser of `text/template/parse`. It checks functions and variables before anything is rendered.

use std::collections::{BTreeMap, HashMap};

use crate::functions;
use crate::lex::{Item, Kind, Lexer};
use crate::node::{Branch, Command, Expr, Node, Pipe};
use crate::{Fault, strconv};

/// A template and the templates that it defines, by name.
pub(crate) type Trees = BTreeMap<String, Vec<Node>>;

/// The result of a parsing step. The error is in Go's words.
type Parsed<T> = Result<T, Box<Fault>>;

/// The state of one `define`, one `block`, or the whole text.
struct Scope {
    vars: Vec<String>,
    /// How often each of them is declared.
    known: HashMap<String, usize>,
    ranges: usize,
    action_line: usize,
}

impl Scope {
    fn new() -> Self {
        let known = HashMap::from([("$".to_owned(), 1)]);
        Self { vars: vec!["$".to_owned()], known, ranges: 0, action_line: 0 }
    }

    fn declare(&mut self, name: &str) {
        *self.known.entry(name.to_owned()).or_default() += 1;
        self.vars.push(name.to_owned());
    }

    fn forget_from(&mut self, mark: usize) {
        for name in self.vars.drain(mark.min(self.vars.len())..) {
            if let Some(count) = self.known.get_mut(&name) {
                *count -= 1;
            }
        }
    }

    fn knows(&self, name: &str) -> bool {
        self.known.get(name).is_some_and(|count| *count > 0)
    }
}

pub(crate) struct Parser<'t> {
    name: &'t str,
    lexer: Lexer<'t>,
    /// Tokens that were put back. The last one is read first.
    ahead: Vec<Item>,
    /// The line of the latest token from the lexer.
    line: usize,
    scope: Scope,
    trees: Trees,
    depth: usize,
    max_depth: usize,
    /// Nodes and operands so far.
    parts: usize,
}

/// Each takes some hundred bytes. Templates of installations have a few hundred.
const MOST_PARTS: usize = 200_000;

/// What ended a list of nodes.
enum End {
    End,
    Else,
}

pub(crate) fn parse(name: &str, text: &str, max_depth: usize) -> Result<Trees, Box<Fault>> {
    let lexer = Lexer::new(text);
    let (scope, trees) = (Scope::new(), Trees::new());
    let mut parser = Parser { name, lexer, ahead: Vec::new(), line: 1, scope, trees, depth: 0, max_depth, parts: 0 };
    let mut root = Vec::new();
    loop {
        let token = parser.peek();
        match token.kind {
            Kind::Eof => break,
            Kind::LeftDelim => {
                let delim = parser.next();
                let second = parser.next_non_space();
                if second.kind == Kind::Define {
                    parser.definition()?;
                    continue;
                }
                parser.ahead.push(second);
                parser.ahead.push(delim);
            }
            _ => {}
        }
        match parser.text_or_action()? {
            Ok(node) => root.push(node),
            Err(End::End) => return parser.error("unexpected {{end}}"),
            Err(End::Else) => return parser.error("unexpected {{else}}"),
        }
    }
    parser.add(name.to_owned(), root)?;
    Ok(parser.trees)
}

fn is_empty(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| matches!(node, Node::Text { text, .. } if text.trim().is_empty()))
}

impl Parser<'_> {
    fn error<T>(&self, message: impl AsRef<str>) -> Parsed<T> {
        let message = message.as_ref();
        Err(Box::new(Fault {
            text: format!("template: {}:{}: {message}", self.name, self.line),
            message: message.to_owned(),
            line: self.line,
            column: 0,
        }))
    }

    fn unexpected<T>(&self, token: &Item, context: &str) -> Parsed<T> {
        if token.kind != Kind::Error {
            return self.error(format!("unexpected {token} in {context}"));
        }
        let started = self.scope.action_line;
        if started == 0 || started == token.line {
            return self.error(&token.val);
        }
        let word = if token.val.ends_with(" action") { "" } else { " in action" };
        self.error(format!("{token}{word} started at {}:{started}", self.name))
    }

    fn next(&mut self) -> Item {
        if let Some(item) = self.ahead.pop() {
            return item;
        }
        let item = self.lexer.next_item();
        self.line = item.line;
        item
    }

    fn peek(&mut self) -> Item {
        let item = self.next();
        self.ahead.push(item.clone());
        item
    }

    fn next_non_space(&mut self) -> Item {
        loop {
            let item = self.next();
            if item.kind != Kind::Space {
                return item;
            }
        }
    }

    fn peek_non_space(&mut self) -> Item {
        let item = self.next_non_space();
        self.ahead.push(item.clone());
        item
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parsed<Item> {
        let token = self.next_non_space();
        if token.kind == kind { Ok(token) } else { self.unexpected(&token, context) }
    }

    fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > self.max_depth {
            return self.error(format!("blocks and parentheses are nested deeper than {} levels", self.max_depth));
        }
        Ok(())
    }

    fn part(&mut self) -> Parsed<()> {
        self.parts += 1;
        if self.parts > MOST_PARTS {
            return self.error(format!("the template has more than {MOST_PARTS} parts"));
        }
        Ok(())
    }

    fn add(&mut self, name: String, nodes: Vec<Node>) -> Parsed<()> {
        match self.trees.get(&name) {
            Some(old) if !is_empty(old) => {
                if !is_empty(&nodes) {
                    let quoted = strconv::quote(name.as_bytes(), false);
                    return self.error(format!("template: multiple definition of template {quoted}"));
                }
            }
            _ => drop(self.trees.insert(name, nodes)),
        }
        Ok(())
    }

    fn definition(&mut self) -> Parsed<()> {
        const CONTEXT: &str = "define clause";
        let token = self.next_non_space();
        let outer = std::mem::replace(&mut self.scope, Scope::new());
        if !matches!(token.kind, Kind::String | Kind::RawString) {
            return self.unexpected(&token, CONTEXT);
        }
        let name = self.unquote(&token.val)?;
        self.expect(Kind::RightDelim, CONTEXT)?;
        let (nodes, end) = self.item_list()?;
        if matches!(end, End::Else) {
            return self.error(format!("unexpected {{{{else}}}} in {CONTEXT}"));
        }
        self.scope = outer;
        self.add(String::from_utf8_lossy(&name).into_owned(), nodes)
    }

    fn unquote(&self, quoted: &str) -> Parsed<Vec<u8>> {
        strconv::unquote(quoted).map_or_else(|| self.error("invalid syntax"), Ok)
    }

    fn item_list(&mut self) -> Parsed<(Vec<Node>, End)> {
        let mut nodes = Vec::new();
        while self.peek_non_space().kind != Kind::Eof {
            match self.text_or_action()? {
                Ok(node) => nodes.push(node),
                Err(end) => return Ok((nodes, end)),
            }
        }
        self.error("unexpected EOF")
    }

    fn text_or_action(&mut self) -> Parsed<Result<Node, End>> {
        self.part()?;
        let token = self.next_non_space();
        match token.kind {
            Kind::Text => Ok(Ok(Node::Text { pos: token.pos, text: token.val })),
            Kind::LeftDelim => {
                self.scope.action_line = token.line;
                let node = self.action()?;
                self.scope.action_line = 0;
                Ok(node)
            }
            _ => self.unexpected(&token, "input"),
        }
    }

    fn action(&mut self) -> Parsed<Result<Node, End>> {
        let token = self.next_non_space();
        Ok(Ok(match token.kind {
            Kind::Block => self.block()?,
            Kind::Break => self.loop_control("break", Node::Break)?,
            Kind::Continue => self.loop_control("continue", Node::Continue)?,
            Kind::Else => {
                let next = self.peek_non_space();
                if !matches!(next.kind, Kind::If | Kind::With) {
                    self.expect(Kind::RightDelim, "else")?;
                }
                return Ok(Err(End::Else));
            }
            Kind::End => {
                self.expect(Kind::RightDelim, "end")?;
                return Ok(Err(End::End));
            }
            Kind::If => Node::If(self.control("if", token.pos)?),
            Kind::Range => Node::Range(self.control("range", token.pos)?),
            Kind::With => Node::With(self.control("with", token.pos)?),
            Kind::Template => self.template()?,
            _ => {
                self.ahead.push(token);
                let pos = self.peek().pos;
                Node::Action { pos, pipe: self.pipeline("command", Kind::RightDelim)? }
            }
        }))
    }

    fn loop_control(&mut self, word: &str, node: Node) -> Parsed<Node> {
        let token = self.next_non_space();
        if token.kind != Kind::RightDelim {
            return self.unexpected(&token, &format!("{{{{{word}}}}}"));
        }
        if self.scope.ranges == 0 {
            return self.error(format!("{{{{{word}}}}} outside {{{{range}}}}"));
        }
        Ok(node)
    }

    fn control(&mut self, context: &'static str, _pos: usize) -> Parsed<Branch> {
        self.enter()?;
        let known = self.scope.vars.len();
        let pipe = self.pipeline(context, Kind::RightDelim)?;
        self.scope.ranges += usize::from(context == "range");
        let (list, end) = self.item_list()?;
        self.scope.ranges -= usize::from(context == "range");
        let otherwise = match end {
            End::End => None,
            End::Else => {
                let next = self.peek();
                Some(match (context, next.kind) {
                    ("if", Kind::If) => {
                        self.next();
                        vec![Node::If(self.control("if", next.pos)?)]
                    }
                    ("with", Kind::With) => {
                        self.next();
                        vec![Node::With(self.control("with", next.pos)?)]
                    }
                    _ => {
                        let (list, end) = self.item_list()?;
                        if matches!(end, End::Else) {
                            return self.error("expected end; found {{else}}");
                        }
                        list
                    }
                })
            }
        };
        self.scope.forget_from(known);
        self.depth -= 1;
        Ok(Branch { pos: pipe.pos, pipe, list, otherwise })
    }

    fn template_name(&self, token: &Item, context: &str) -> Parsed<String> {
        match token.kind {
            Kind::String | Kind::RawString => Ok(String::from_utf8_lossy(&self.unquote(&token.val)?).into_owned()),
            _ => self.unexpected(token, context),
        }
    }

    fn block(&mut self) -> Parsed<Node> {
        const CONTEXT: &str = "block clause";
        self.enter()?;
        let token = self.next_non_space();
        let name = self.template_name(&token, CONTEXT)?;
        let pipe = self.pipeline(CONTEXT, Kind::RightDelim)?;
        let outer = std::mem::replace(&mut self.scope, Scope::new());
        let (nodes, end) = self.item_list()?;
        if matches!(end, End::Else) {
            return self.error(format!("unexpected {{{{else}}}} in {CONTEXT}"));
        }
        self.scope = outer;
        self.add(name.clone(), nodes)?;
        self.depth -= 1;
        Ok(Node::Template { pos: token.pos, name, pipe: Some(pipe) })
    }

    fn template(&mut self) -> Parsed<Node> {
        const CONTEXT: &str = "template clause";
        let token = self.next_non_space();
        let name = self.template_name(&token, CONTEXT)?;
        let next = self.next_non_space();
        if next.kind == Kind::RightDelim {
            return Ok(Node::Template { pos: token.pos, name, pipe: None });
        }
        self.ahead.push(next);
        let pipe = self.pipeline(CONTEXT, Kind::RightDelim)?;
        Ok(Node::Template { pos: token.pos, name, pipe: Some(pipe) })
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Parsed<Pipe> {
        let mut pipe = Pipe { pos: self.peek_non_space().pos, assign: false, decl: Vec::new(), cmds: Vec::new() };
        while self.declaration(&mut pipe, context)? {}
        loop {
            let token = self.next_non_space();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParen => {
                    self.ahead.push(token);
                    let command = self.command()?;
                    pipe.cmds.push(command);
                }
                _ => return self.unexpected(&token, context),
            }
        }
        if pipe.cmds.is_empty() {
            return self.error(format!("missing value for {context}"));
        }
        for (stage, command) in pipe.cmds.iter().enumerate().skip(1) {
            if let Some(Expr::Bool { .. } | Expr::Dot { .. } | Expr::Nil { .. } | Expr::Number { .. } | Expr::Text { .. }) =
                command.args.first()
            {
                return self.error(format!("non executable command in pipeline stage {}", stage + 1));
            }
        }
        Ok(pipe)
    }

    /// `$x :=`, `$x =`, or the first of `$i, $x :=`. True if another declaration must follow.
    fn declaration(&mut self, pipe: &mut Pipe, context: &str) -> Parsed<bool> {
        let variable = self.peek_non_space();
        if variable.kind != Kind::Variable {
            return Ok(false);
        }
        let variable = self.next_non_space_was(&variable);
        let after = self.peek();
        let next = self.peek_non_space();
        match next.kind {
            Kind::Assign | Kind::Declare => {
                pipe.assign = next.kind == Kind::Assign;
                self.next_non_space();
                self.scope.declare(&variable.val);
                pipe.decl.push(variable.val);
                Ok(false)
            }
            Kind::Char if next.val == "," => {
                self.next_non_space();
                self.scope.declare(&variable.val);
                pipe.decl.push(variable.val);
                if context == "range" && pipe.decl.len() < 2 {
                    return match self.peek_non_space().kind {
                        Kind::Variable | Kind::RightDelim | Kind::RightParen => Ok(true),
                        _ => self.error("range can only initialize variables"),
                    };
                }
                self.error(format!("too many declarations in {context}"))
            }
            _ => {
                if after.kind == Kind::Space {
                    self.ahead.push(after);
                }
                self.ahead.push(variable);
                Ok(false)
            }
        }
    }

    /// Consumes the token that was just peeked.
    fn next_non_space_was(&mut self, seen: &Item) -> Item {
        self.next();
        seen.clone()
    }

    fn command(&mut self) -> Parsed<Command> {
        let mut command = Command { pos: self.peek_non_space().pos, args: Vec::new() };
        loop {
            self.peek_non_space();
            if let Some(operand) = self.operand()? {
                command.args.push(operand);
            }
            let token = self.next();
            match token.kind {
                Kind::Space => continue,
                Kind::RightDelim | Kind::RightParen => self.ahead.push(token),
                Kind::Pipe => {}
                _ => return self.unexpected(&token, "operand"),
            }
            break;
        }
        if command.args.is_empty() {
            return self.error("empty command");
        }
        Ok(command)
    }

    fn operand(&mut self) -> Parsed<Option<Expr>> {
        let Some(node) = self.term()? else { return Ok(None) };
        let first = self.peek();
        if first.kind != Kind::Field {
            return Ok(Some(node));
        }
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(self.next().val.split_off(1));
        }
        let pos = first.pos;
        Ok(Some(match node {
            Expr::Field { mut ident, .. } => {
                ident.append(&mut fields);
                Expr::Field { pos, ident }
            }
            Expr::Variable { mut ident, .. } => {
                ident.append(&mut fields);
                Expr::Variable { pos, ident }
            }
            Expr::Bool { .. } | Expr::Text { .. } | Expr::Number { .. } | Expr::Nil { .. } | Expr::Dot { .. } => {
                let shown = strconv::quote(node.to_string().as_bytes(), false);
                return self.error(format!("unexpected . after term {shown}"));
            }
            other => Expr::Chain { pos, node: Box::new(other), fields },
        }))
    }

    fn term(&mut self) -> Parsed<Option<Expr>> {
        self.part()?;
        let token = self.next_non_space();
        let pos = token.pos;
        Ok(Some(match token.kind {
            Kind::Identifier => {
                if functions::find(&token.val).is_none() {
                    let name = strconv::quote(token.val.as_bytes(), false);
                    return self.error(format!("function {name} not defined"));
                }
                Expr::Identifier { pos, name: token.val }
            }
            Kind::Dot => Expr::Dot { pos },
            Kind::Nil => Expr::Nil { pos },
            Kind::Variable => {
                if !self.scope.knows(&token.val) {
                    let name = strconv::quote(token.val.as_bytes(), false);
                    return self.error(format!("undefined variable {name}"));
                }
                Expr::Variable { pos, ident: vec![token.val] }
            }
            Kind::Field => Expr::Field { pos, ident: vec![token.val.get(1..).unwrap_or_default().to_owned()] },
            Kind::Bool => Expr::Bool { pos, truth: token.val == "true" },
            Kind::CharConstant | Kind::Complex | Kind::Number => {
                let number = match token.kind {
                    Kind::CharConstant => strconv::Number::character(&token.val),
                    Kind::Complex => strconv::Number::complex(&token.val),
                    _ => strconv::Number::parse(&token.val),
                };
                match number {
                    Ok(number) => Expr::Number { pos, text: token.val, number },
                    Err(message) => return self.error(message),
                }
            }
            Kind::LeftParen => {
                self.enter()?;
                let pipe = self.pipeline("parenthesized pipeline", Kind::RightParen)?;
                self.depth -= 1;
                Expr::Pipe(pipe)
            }
            Kind::String | Kind::RawString => {
                let text = self.unquote(&token.val)?;
                Expr::Text { pos, quoted: token.val, text }
            }
            _ => {
                self.ahead.push(token);
                return Ok(None);
            }
        }))
    }
}
