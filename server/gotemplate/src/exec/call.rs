//! Calls of functions, and what their parameters take.

use super::{Args, At, Done, State};
use crate::functions::{self, Body, Function, Param};
use crate::node::{Expr, constant};
use crate::value::{Held, Value};

impl<'t> State<'t> {
    pub(super) fn function(&mut self, dot: &Held, at: At<'t>, name: &'t str, args: Args<'t>) -> Done<Held> {
        match functions::find(name) {
            Some(function) => self.call(dot, at, name, function, args, None),
            None => self.fail(format!("{} is not a defined function", crate::strconv::quote(name.as_bytes(), false))),
        }
    }

    pub(super) fn call(
        &mut self,
        dot: &Held,
        at: At<'t>,
        name: &str,
        function: &'static Function,
        args: Args<'t>,
        receiver: Option<Value>,
    ) -> Done<Held> {
        self.enter()?;
        let Args { exprs, piped } = args;
        let given = exprs.len() + usize::from(piped.is_some());
        let fixed = function.params.len();
        if function.rest.is_some() && given < fixed {
            return self.fail(format!("wrong number of args for {name}: want at least {fixed} got {}", exprs.len()));
        }
        if function.rest.is_none() && given != fixed {
            return self.fail(format!("wrong number of args for {name}: want {fixed} got {given}"));
        }
        if let Body::Refused(message) = function.body {
            return self.fail(message);
        }
        if let Body::Logic(stop_at) = function.body {
            let value = self.logic(dot, exprs, piped, stop_at)?;
            self.depth -= 1;
            return Ok(value);
        }
        let mut values = Vec::with_capacity(given + 1);
        values.extend(receiver.map(Held::of));
        for (index, expr) in exprs.iter().enumerate() {
            let param = function.params.get(index).copied().or(function.rest).unwrap_or(Param::Any);
            values.push(self.argument(dot, param, expr)?);
        }
        if let Some(piped) = piped {
            let param = function.params.get(given - 1).copied().or(function.rest).unwrap_or(Param::Any);
            values.push(self.validate(piped, param)?);
        }
        let context = self.run.context;
        let result = match function.body {
            Body::Plain(run) => {
                let mut plain: Vec<Value> = values.into_iter().map(|held| held.value).collect();
                run(context, &mut plain).map(|value| Held { value, any: function.any })
            }
            Body::Reflect(run) => run(context, &values),
            Body::Call => {
                let callee = match (exprs.first(), values.first().map(|held| &held.value)) {
                    (Some(expr), _) => expr.to_string(),
                    (None, Some(Value::Text(text))) => text.lossy().into_owned(),
                    (None, value) => format!("<{} Value>", value.map_or_else(String::new, Value::type_name)),
                };
                functions::builtin::call(&callee, &values)
            }
            Body::Logic(_) | Body::Refused(_) => Ok(Held::INVALID),
        };
        match result {
            Ok(value) => {
                self.depth -= 1;
                Ok(value)
            }
            Err(message) => {
                self.at = at;
                self.fail(format!("error calling {name}: {message}"))
            }
        }
    }

    /// `and` and `or` stop at the first argument that decides the result.
    pub(super) fn logic(&mut self, dot: &Held, exprs: &'t [Expr], piped: Option<Held>, stop_at: bool) -> Done<Held> {
        let mut last = Held::INVALID;
        for expr in exprs {
            last = self.argument(dot, Param::Reflect, expr)?;
            if last.value.is_true() == stop_at {
                return Ok(last);
            }
        }
        Ok(piped.unwrap_or(last))
    }

    /// Evaluates an argument that is not a constant.
    pub(super) fn evaluate(&mut self, dot: &Held, expr: &'t Expr) -> Done<Held> {
        self.at = At::Expr(expr);
        match expr {
            Expr::Dot { .. } => Ok(dot.clone()),
            Expr::Field { ident, .. } => self.fields(dot, dot.clone(), At::Expr(expr), ident, Args::NONE),
            Expr::Variable { ident, .. } => {
                if ident.len() == 1 {
                    return self.variable(ident.first().map_or("", String::as_str));
                }
                self.variable_fields(dot, expr, ident, Args::NONE)
            }
            Expr::Pipe(pipe) => self.pipeline(dot, pipe),
            Expr::Identifier { name, .. } => self.function(dot, At::Expr(expr), name, Args::NONE),
            Expr::Chain { .. } => self.chain(dot, expr, Args::NONE),
            _ => self.literal(expr),
        }
    }

    pub(super) fn argument(&mut self, dot: &Held, param: Param, expr: &'t Expr) -> Done<Held> {
        self.at = At::Expr(expr);
        match expr {
            Expr::Nil { .. } if param == Param::Any => Ok(Held { value: Value::Nil, any: true }),
            Expr::Nil { .. } if param.can_be_nil() => Ok(Held::INVALID),
            Expr::Nil { .. } => self.fail(format!("cannot assign nil to {param}")),
            Expr::Bool { .. } | Expr::Number { .. } | Expr::Text { .. } => self.typed_literal(param, expr),
            _ => {
                let value = self.evaluate(dot, expr)?;
                self.validate(value, param)
            }
        }
    }

    /// A constant, converted to the parameter's type.
    pub(super) fn typed_literal(&mut self, param: Param, expr: &'t Expr) -> Done<Held> {
        let value = match (param, expr) {
            (Param::Any | Param::Reflect, _) => return self.literal(expr),
            (Param::Bool, Expr::Bool { truth, .. }) => Some(Value::Bool(*truth)),
            (Param::Text, Expr::Text { text, .. }) => Some(Value::Text(constant(text))),
            (Param::Int, Expr::Number { number, .. }) => number.int.map(Value::Int),
            (Param::Duration, Expr::Number { number, .. }) => {
                number.int.map(|nanos| Value::Named(&functions::times::DURATION, nanos))
            }
            (Param::Uint32, Expr::Number { number, .. }) => {
                #[allow(clippy::cast_possible_truncation)] // the same as SetUint
                number.uint.map(|uint| Value::Uint32(uint as u32))
            }
            (Param::Float, Expr::Number { number, .. }) => number.float.map(Value::Float),
            _ => None,
        };
        match (value, param.expected()) {
            (Some(value), _) => Ok(Held::of(value)),
            (None, Some(expected)) => self.fail(format!("expected {expected}; found {expr}")),
            (None, None) => self.fail(format!("can't handle {expr} for arg of type {param}")),
        }
    }

    pub(super) fn validate(&self, mut held: Held, param: Param) -> Done<Held> {
        if !held.is_valid() {
            return match param {
                Param::Any => Ok(Held { value: Value::Nil, any: true }),
                _ if param.can_be_nil() => Ok(Held::INVALID),
                _ => self.fail(format!("invalid value; expected {param}")),
            };
        }
        if matches!(param, Param::Any | Param::Reflect) {
            return Ok(held);
        }
        if held.any && matches!(held.value, Value::Nil) {
            return self.fail(format!("wrong type for value; expected {param}; got interface {{}}"));
        }
        held.any = false;
        if param.takes(&held.value) {
            return Ok(held);
        }
        if let Value::Pointer(pointer) = &held.value
            && param.takes(&pointer.to.zero())
        {
            return match &pointer.value {
                Some(target) => Ok(Held::of(Value::clone(target))),
                None => self.fail(format!("dereference of nil pointer of type {param}")),
            };
        }
        self.fail(format!("wrong type for value; expected {param}; got {}", held.value.type_name()))
    }
}
