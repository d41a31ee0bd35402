//! The evaluator of `text/template`: the order of evaluation and the error texts are Go's.

mod call;

use crate::functions::{self, Context};
use crate::node::{Branch, Command, Expr, Node, Pipe, constant};
use crate::parse::Trees;
use crate::strconv::Number;
use crate::value::{Held, Value};
use crate::{Fault, print};

/// Where the evaluator is, for error texts.
#[derive(Clone, Copy)]
enum At<'t> {
    Nowhere,
    Node(&'t Node),
    Pipe(&'t Pipe),
    Command(&'t Command),
    Expr(&'t Expr),
}

enum Flow {
    Next,
    Break,
    Continue,
}

type Done<T> = Result<T, Box<Fault>>;

pub(crate) struct Run<'t> {
    /// The name of the whole template text.
    pub file: &'t str,
    pub source: &'t str,
    pub trees: &'t Trees,
    pub context: &'t Context<'t>,
}

struct State<'t> {
    run: &'t Run<'t>,
    name: &'t str,
    vars: Vec<(&'t str, Held)>,
    at: At<'t>,
    depth: usize,
    out: Vec<u8>,
}

pub(crate) fn execute<'t>(run: &'t Run<'t>, data: Value) -> Done<Vec<u8>> {
    let data = Held::of(data);
    let vars = vec![("$", data.clone())];
    let mut state = State { run, name: run.file, vars, at: At::Nowhere, depth: 0, out: Vec::new() };
    let root = run.trees.get(run.file).map(Vec::as_slice).unwrap_or_default();
    state.list(&data, root)?;
    Ok(state.out)
}

/// An argument list, which may be missing, and the value that the pipe passes in.
struct Args<'t> {
    /// The arguments without the function's name.
    exprs: &'t [Expr],
    piped: Option<Held>,
}

impl<'t> Args<'t> {
    const NONE: Self = Self { exprs: &[], piped: None };

    fn is_empty(&self) -> bool {
        self.exprs.is_empty() && self.piped.is_none()
    }
}

impl<'t> State<'t> {
    fn fail<T>(&self, message: impl Into<String>) -> Done<T> {
        Err(self.fault(message.into()))
    }

    fn fault(&self, message: String) -> Box<Fault> {
        let (pos, shown) = match self.at {
            At::Nowhere => {
                return Box::new(Fault { text: format!("template: {}: {message}", self.name), message, line: 0, column: 0 });
            }
            At::Node(Node::Action { pos, .. } | Node::Template { pos, .. }) => (*pos, self.shown(&self.at)),
            At::Node(Node::If(branch) | Node::With(branch) | Node::Range(branch)) => (branch.pos, self.shown(&self.at)),
            At::Node(_) => (0, self.shown(&self.at)),
            At::Pipe(pipe) => (pipe.pos, self.shown(&self.at)),
            At::Command(command) => (command.pos, self.shown(&self.at)),
            At::Expr(expr) => (expr.pos(), self.shown(&self.at)),
        };
        crate::check::fault(self.run.file, self.run.source, self.name, pos, &shown, &message)
    }

    fn shown(&self, at: &At<'t>) -> String {
        match at {
            At::Nowhere => String::new(),
            At::Node(node) => node.to_string(),
            At::Pipe(pipe) => pipe.to_string(),
            At::Command(command) => command.to_string(),
            At::Expr(expr) => expr.to_string(),
        }
    }

    fn check<T>(&self, result: Result<T, String>) -> Done<T> {
        result.map_err(|message| self.fault(message))
    }

    /// Every recursion calls this, so the stack is never used up.
    fn enter(&mut self) -> Done<()> {
        self.depth += 1;
        let budget = self.run.context.budget;
        if self.depth > budget.limits().depth {
            return self.fail(format!("exceeded maximum template depth ({})", budget.limits().depth));
        }
        self.check(budget.step())
    }

    fn write(&mut self, bytes: &[u8]) -> Done<()> {
        let budget = self.run.context.budget;
        let limit = budget.limits().output;
        if self.out.len() + bytes.len() > limit {
            return self.fail(format!("rendered template exceeds {limit} bytes"));
        }
        self.check(budget.read(bytes.len()))?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn list(&mut self, dot: &Held, nodes: &'t [Node]) -> Done<Flow> {
        self.enter()?;
        for node in nodes {
            match self.walk(dot, node)? {
                Flow::Next => {}
                other => {
                    self.depth -= 1;
                    return Ok(other);
                }
            }
        }
        self.depth -= 1;
        Ok(Flow::Next)
    }

    fn walk(&mut self, dot: &Held, node: &'t Node) -> Done<Flow> {
        self.at = At::Node(node);
        self.check(self.run.context.budget.step())?;
        match node {
            Node::Text { text, .. } => self.write(text.as_bytes())?,
            Node::Action { pipe, .. } => {
                let value = self.pipeline(dot, pipe)?;
                if pipe.decl.is_empty() {
                    self.at = At::Node(node);
                    let budget = self.run.context.budget;
                    let room = budget.limits().output - self.out.len();
                    let shown = print::shown(budget, &value.value, room);
                    self.check(budget.step())?;
                    if shown.is_full() {
                        return self.fail(format!("rendered template exceeds {} bytes", budget.limits().output));
                    }
                    self.write(&shown.into_bytes())?;
                }
            }
            Node::If(branch) => return self.branch(dot, branch, false),
            Node::With(branch) => return self.branch(dot, branch, true),
            Node::Range(branch) => self.range(dot, branch, node)?,
            Node::Template { name, pipe, .. } => self.template(dot, name, pipe.as_ref())?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn branch(&mut self, dot: &Held, branch: &'t Branch, with: bool) -> Done<Flow> {
        let mark = self.vars.len();
        let value = self.pipeline(dot, &branch.pipe)?;
        let flow = if value.value.is_true() {
            self.list(if with { &value } else { dot }, &branch.list)?
        } else if let Some(otherwise) = &branch.otherwise {
            self.list(dot, otherwise)?
        } else {
            Flow::Next
        };
        self.vars.truncate(mark);
        Ok(flow)
    }

    fn range(&mut self, dot: &Held, branch: &'t Branch, node: &'t Node) -> Done<()> {
        self.at = At::Node(node);
        let before = self.vars.len();
        let (over, _) = self.pipeline(dot, &branch.pipe)?.value.indirect();
        let mark = self.vars.len();
        let mut ran = false;
        let once = |state: &mut Self, ran: &mut bool, index: Held, item: Held| -> Done<bool> {
            *ran = true;
            state.check(state.run.context.budget.step())?;
            state.declare(&branch.pipe, index, item.clone())?;
            let flow = state.list(&item, &branch.list)?;
            state.vars.truncate(mark);
            Ok(matches!(flow, Flow::Break))
        };
        match &over {
            Value::List(list) => {
                for index in 0..list.len() {
                    let Some(item) = list.get(index) else { break };
                    let position = Held::of(Value::Int(i64::try_from(index).unwrap_or(i64::MAX)));
                    if once(self, &mut ran, position, Held::element(item, list.elem))? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                self.check(self.run.context.budget.take(map.len() * crate::value::CELL * 3))?;
                for (key, item) in map.entries() {
                    if once(self, &mut ran, Held::of(Value::Text(key)), Held::element(item, map.elem))? {
                        break;
                    }
                }
            }
            Value::Nil => {}
            other => {
                let Some(count) =
                    other.integer().or_else(|| other.unsigned().map(|count| i64::try_from(count).unwrap_or(i64::MAX)))
                else {
                    let shown = self.check(print::plain(self.run.context.budget, other))?;
                    return self.fail(format!("range can't iterate over {}", String::from_utf8_lossy(&shown)));
                };
                if branch.pipe.decl.len() > 1 {
                    return self.fail(format!("can't use {count} to iterate over more than one variable"));
                }
                for number in 0..count {
                    let item = match other {
                        Value::Int64(_) => Value::Int64(number),
                        Value::Int32(_) => Value::Int32(i32::try_from(number).unwrap_or(0)),
                        Value::Uint8(_) => Value::Uint8(u8::try_from(number).unwrap_or(0)),
                        Value::Uint32(_) => Value::Uint32(u32::try_from(number).unwrap_or(0)),
                        Value::Uint64(_) => Value::Uint64(number.unsigned_abs()),
                        Value::Named(named, _) => Value::Named(named, number),
                        _ => Value::Int(number),
                    };
                    if once(self, &mut ran, Held::INVALID, Held::of(item))? {
                        break;
                    }
                }
            }
        }
        if let (false, Some(otherwise)) = (ran, &branch.otherwise) {
            self.list(dot, otherwise)?;
        }
        self.vars.truncate(before);
        Ok(())
    }

    /// Gives the variables of a `range` their values for one round.
    fn declare(&mut self, pipe: &'t Pipe, index: Held, item: Held) -> Done<()> {
        match pipe.decl.as_slice() {
            [] => {}
            [one] if pipe.assign => self.assign(one, item)?,
            [first, second, ..] if pipe.assign => {
                self.assign(first, index)?;
                self.assign(second, item)?;
            }
            names => {
                let top = self.vars.len();
                if let Some(slot) = top.checked_sub(1).and_then(|at| self.vars.get_mut(at)) {
                    slot.1 = item;
                }
                if names.len() > 1
                    && let Some(slot) = top.checked_sub(2).and_then(|at| self.vars.get_mut(at))
                {
                    slot.1 = index;
                }
            }
        }
        Ok(())
    }

    fn template(&mut self, dot: &Held, name: &'t str, pipe: Option<&'t Pipe>) -> Done<()> {
        let Some(nodes) = self.run.trees.get(name) else {
            let name = crate::strconv::quote(name.as_bytes(), false);
            return self.fail(format!("template {name} not defined"));
        };
        let dot = match pipe {
            Some(pipe) => self.pipeline(dot, pipe)?,
            None => Held::INVALID,
        };
        let vars = std::mem::replace(&mut self.vars, vec![("$", dot.clone())]);
        let outer = std::mem::replace(&mut self.name, name);
        self.list(&dot, nodes)?;
        self.vars = vars;
        self.name = outer;
        Ok(())
    }

    fn assign(&mut self, name: &str, value: Held) -> Done<()> {
        match self.vars.iter_mut().rev().find(|(known, _)| *known == name) {
            Some(slot) => slot.1 = value,
            None => return self.fail(format!("undefined variable: {name}")),
        }
        Ok(())
    }

    fn variable(&self, name: &str) -> Done<Held> {
        match self.vars.iter().rev().find(|(known, _)| *known == name) {
            Some((_, value)) => Ok(value.clone()),
            None => self.fail(format!("undefined variable: {name}")),
        }
    }

    fn pipeline(&mut self, dot: &Held, pipe: &'t Pipe) -> Done<Held> {
        self.enter()?;
        self.at = At::Pipe(pipe);
        let mut value: Option<Held> = None;
        for command in &pipe.cmds {
            let mut next = self.command(dot, command, value.take())?;
            next.any = false; // unwrap the value inside the interface
            value = Some(next);
        }
        let value = value.unwrap_or(Held::INVALID);
        for name in &pipe.decl {
            if pipe.assign {
                self.assign(name, value.clone())?;
            } else {
                self.vars.push((name, value.clone()));
            }
        }
        self.depth -= 1;
        Ok(value)
    }

    fn not_a_function(&self, args: &'t [Expr], piped: Option<&Held>) -> Done<()> {
        match args {
            [first, ..] if args.len() > 1 || piped.is_some() => self.fail(format!("can't give argument to non-function {first}")),
            _ => Ok(()),
        }
    }

    fn command(&mut self, dot: &Held, command: &'t Command, piped: Option<Held>) -> Done<Held> {
        let Some((first, rest)) = command.args.split_first() else { return self.fail("empty command") };
        match first {
            Expr::Field { ident, .. } => {
                self.at = At::Expr(first);
                return self.fields(dot, dot.clone(), At::Expr(first), ident, Args { exprs: rest, piped });
            }
            Expr::Chain { .. } => return self.chain(dot, first, Args { exprs: rest, piped }),
            Expr::Identifier { name, .. } => {
                self.at = At::Expr(first);
                return self.function(dot, At::Command(command), name, Args { exprs: rest, piped });
            }
            Expr::Pipe(pipe) => {
                self.not_a_function(&command.args, piped.as_ref())?;
                return self.pipeline(dot, pipe);
            }
            Expr::Variable { ident, .. } => {
                self.at = At::Expr(first);
                if ident.len() == 1 {
                    let value = self.variable(ident.first().map_or("", String::as_str))?;
                    self.not_a_function(&command.args, piped.as_ref())?;
                    return Ok(value);
                }
                return self.variable_fields(dot, first, ident, Args { exprs: rest, piped });
            }
            _ => {}
        }
        self.at = At::Expr(first);
        self.not_a_function(&command.args, piped.as_ref())?;
        match first {
            Expr::Dot { .. } => Ok(dot.clone()),
            Expr::Nil { .. } => self.fail("nil is not a command"),
            _ => self.literal(first),
        }
    }

    /// A constant in a place that asks for no type.
    fn literal(&mut self, expr: &'t Expr) -> Done<Held> {
        self.at = At::Expr(expr);
        Ok(Held::of(match expr {
            Expr::Bool { truth, .. } => Value::Bool(*truth),
            Expr::Text { text, .. } => Value::Text(constant(text)),
            Expr::Number { text, number, .. } => return self.ideal(text, number),
            other => {
                return self
                    .fail(format!("can't evaluate command {}", crate::strconv::quote(other.to_string().as_bytes(), false)));
            }
        }))
    }

    fn ideal(&self, text: &str, number: &Number) -> Done<Held> {
        let hex = text.len() > 2 && matches!(text.get(..2), Some("0x" | "0X")) && !text.contains(['p', 'P']);
        let floating = !hex && !text.starts_with('\'') && text.contains(['.', 'e', 'E', 'p', 'P']);
        Ok(Held::of(match (number.complex, number.float.filter(|_| floating), number.int) {
            (Some((real, imaginary)), ..) => Value::Complex(real, imaginary),
            (_, Some(float), _) => Value::Float(float),
            (.., Some(int)) => Value::Int(int),
            _ => return self.fail(format!("{text} overflows int")),
        }))
    }

    fn chain(&mut self, dot: &Held, expr: &'t Expr, args: Args<'t>) -> Done<Held> {
        let Expr::Chain { node, fields, .. } = expr else { return self.fail("not a chain") };
        self.at = At::Expr(expr);
        if matches!(node.as_ref(), Expr::Nil { .. }) {
            return self.fail(format!("indirection through explicit nil in {expr}"));
        }
        let receiver = self.evaluate(dot, node)?;
        self.fields(dot, receiver, At::Expr(expr), fields, args)
    }

    fn variable_fields(&mut self, dot: &Held, expr: &'t Expr, ident: &'t [String], args: Args<'t>) -> Done<Held> {
        self.at = At::Expr(expr);
        let (first, fields) = ident.split_first().map_or(("", [].as_slice()), |(first, rest)| (first.as_str(), rest));
        let receiver = self.variable(first)?;
        self.fields(dot, receiver, At::Expr(expr), fields, args)
    }

    fn fields(&mut self, dot: &Held, mut receiver: Held, at: At<'t>, names: &'t [String], args: Args<'t>) -> Done<Held> {
        let Some((last, before)) = names.split_last() else { return Ok(receiver) };
        for name in before {
            receiver = self.field(dot, name, at, Args::NONE, receiver)?;
        }
        self.field(dot, last, at, args, receiver)
    }

    fn field(&mut self, dot: &Held, name: &'t str, at: At<'t>, args: Args<'t>, receiver: Held) -> Done<Held> {
        self.check(self.run.context.budget.step())?;
        if !receiver.is_valid() {
            return self.fail(format!("nil data; no entry for key {}", crate::strconv::quote(name.as_bytes(), false)));
        }
        let ty = receiver.type_name();
        let (value, nil) = receiver.value.indirect();
        if matches!(value, Value::Nil) {
            return self.fail(format!("nil pointer evaluating {ty}.{name}"));
        }
        if let Some(method) = functions::method(&value, name) {
            let receiver = Some(value.clone());
            return self.call(dot, at, name, method, args, receiver);
        }
        match &value {
            Value::Struct(inner) => {
                if let Some((field, found)) = inner.field(name) {
                    if !args.is_empty() {
                        return self.fail(format!("{name} has arguments but cannot be invoked as function"));
                    }
                    return Ok(Held::element(found.clone(), field.ty));
                }
            }
            Value::Map(map) => {
                if !args.is_empty() {
                    return self.fail(format!("{name} is not a method but has arguments"));
                }
                return match map.get(name.as_bytes()) {
                    Some(found) => Ok(Held::element(found, map.elem)),
                    None => {
                        let quoted = crate::strconv::quote(name.as_bytes(), false);
                        self.fail(format!("map has no entry for key {quoted}"))
                    }
                };
            }
            Value::Pointer(pointer) if nil => {
                let known = match pointer.to {
                    crate::value::Type::Struct(of) => of.fields.iter().any(|field| field.name == name),
                    _ => true,
                };
                if known {
                    return self.fail(format!("nil pointer evaluating {ty}.{name}"));
                }
            }
            Value::Time(_) if matches!(name, "wall" | "ext" | "loc") => {
                return self.fail(format!("{name} is an unexported field of struct type {ty}"));
            }
            Value::Semver(_) | Value::Version(_)
                if matches!(name, "major" | "minor" | "patch" | "pre" | "metadata" | "original") =>
            {
                return self.fail(format!("{name} is an unexported field of struct type {ty}"));
            }
            _ => {}
        }
        self.fail(format!("can't evaluate field {name} in type {ty}"))
    }
}
