//! Metric math: the expressions of GetMetricData and of alarms. Arithmetic, comparisons, AND and OR,
//! and the functions of [`FUNCTIONS`]; everything else is refused when the expression is parsed.
//! Rules: CloudWatch's guide, "Using math expressions with CloudWatch metrics".

mod parser;

use std::collections::{BTreeMap, BTreeSet};

/// A parsed expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression(Node);

/// A time series: values by the start of their period, in seconds since the epoch.
pub type Series = BTreeMap<i64, f64>;

/// What an expression may be evaluated to.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Scalar(f64),
    Series(Series),
}

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MathError(String);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Number(f64),
    /// Another query, by its id.
    Id(String),
    /// The last value is repeated, only in FILL.
    Repeat,
    Negate(Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
    Call(Function, Vec<Node>),
    /// `[m1, m2]`.
    Array(Vec<Node>),
    /// `METRICS()` or `METRICS("part of an id")`.
    Metrics(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Abs,
    Average,
    Ceil,
    Diff,
    Fill,
    Floor,
    If,
    Max,
    Min,
    Period,
    Rate,
    Sum,
}

/// The functions that can be used.
pub const FUNCTIONS: &[&str] =
    &["ABS", "AVG", "CEIL", "DIFF", "FILL", "FLOOR", "IF", "MAX", "METRICS", "MIN", "PERIOD", "RATE", "SUM"];

/// What an expression refers to while it is evaluated.
pub struct Scope<'a> {
    /// Values of queries by their ids.
    pub values: &'a BTreeMap<String, Value>,
    /// Those of `values` that are metrics, not expressions, in the order of the request.
    pub metrics: &'a [String],
    /// The period of each query in seconds.
    pub periods: &'a BTreeMap<String, i64>,
    /// All periods that an answer may have a value in.
    pub times: &'a BTreeSet<i64>,
}

/// Between evaluation steps: one value, or the several of an array.
#[derive(Clone)]
enum Many {
    One(Value),
    Array(Vec<Series>),
}

impl Expression {
    pub fn parse(text: &str) -> Result<Self, MathError> {
        if text.trim_start().to_ascii_uppercase().starts_with("SELECT ") {
            return Err(MathError("Metrics Insights queries are not supported".into()));
        }
        parser::node(text).map(Self)
    }

    /// The ids that it names.
    pub fn ids(&self) -> BTreeSet<&str> {
        let mut ids = BTreeSet::new();
        self.0.collect(&mut ids);
        ids
    }

    /// Its values. An array as the whole answer is refused: it would be several time series.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, MathError> {
        match self.0.evaluate(scope)? {
            Many::One(value) => Ok(value),
            Many::Array(mut only) if only.len() == 1 => Ok(Value::Series(only.remove(0))),
            Many::Array(_) => Err(MathError("an expression that gives several time series is not supported".into())),
        }
    }
}

impl Node {
    fn collect<'a>(&'a self, ids: &mut BTreeSet<&'a str>) {
        match self {
            Self::Id(id) => {
                ids.insert(id);
            }
            Self::Negate(inner) => inner.collect(ids),
            Self::Binary(_, a, b) => {
                a.collect(ids);
                b.collect(ids);
            }
            Self::Call(_, parts) | Self::Array(parts) => parts.iter().for_each(|part| part.collect(ids)),
            Self::Number(_) | Self::Repeat | Self::Metrics(_) => {}
        }
    }

    fn evaluate(&self, scope: &Scope<'_>) -> Result<Many, MathError> {
        Ok(match self {
            Self::Number(n) => Many::One(Value::Scalar(*n)),
            Self::Repeat => return Err(MathError("REPEAT stands only as the second argument of FILL".into())),
            Self::Id(id) => {
                let found = scope.values.get(id).cloned();
                Many::One(found.ok_or_else(|| MathError(format!("{id} is no id of a query")))?)
            }
            Self::Metrics(part) => {
                let ids = scope.metrics.iter().filter(|id| id.contains(part.as_str()));
                Many::Array(ids.filter_map(|id| scope.values.get(id)).map(|v| v.series(scope.times)).collect())
            }
            Self::Array(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    match part.evaluate(scope)? {
                        Many::One(value) => all.push(value.series(scope.times)),
                        Many::Array(several) => all.extend(several),
                    }
                }
                Many::Array(all)
            }
            Self::Negate(inner) => map(inner.evaluate(scope)?, |v| -v),
            Self::Binary(operator, a, b) => {
                binary(a.evaluate(scope)?, b.evaluate(scope)?, |a, b| operator.apply(a, b))?
            }
            Self::Call(function, arguments) => return function.call(arguments, scope),
        })
    }
}

impl Value {
    fn series(&self, times: &BTreeSet<i64>) -> Series {
        match self {
            Self::Scalar(n) => times.iter().map(|t| (*t, *n)).collect(),
            Self::Series(series) => series.clone(),
        }
    }
}

fn map(value: Many, f: impl Fn(f64) -> f64) -> Many {
    let each = |series: Series| series.into_iter().map(|(t, v)| (t, f(v))).collect();
    match value {
        Many::One(Value::Scalar(n)) => Many::One(Value::Scalar(f(n))),
        Many::One(Value::Series(series)) => Many::One(Value::Series(each(series))),
        Many::Array(all) => Many::Array(all.into_iter().map(each).collect()),
    }
}

/// Of two series only the times that both have count.
fn binary(a: Many, b: Many, f: impl Fn(f64, f64) -> Option<f64> + Copy) -> Result<Many, MathError> {
    use Value::Scalar;
    let join =
        |a: &Series, b: &Series| -> Series { a.iter().filter_map(|(t, a)| Some((*t, f(*a, *b.get(t)?)?))).collect() };
    let right = |series: &Series, n: f64| series.iter().filter_map(|(t, v)| Some((*t, f(*v, n)?))).collect();
    let left = |n: f64, series: &Series| series.iter().filter_map(|(t, v)| Some((*t, f(n, *v)?))).collect();
    Ok(match (a, b) {
        (Many::One(Scalar(a)), Many::One(Scalar(b))) => Many::One(Scalar(f(a, b).unwrap_or(0.0))),
        (Many::One(Value::Series(a)), Many::One(Scalar(b))) => Many::One(Value::Series(right(&a, b))),
        (Many::One(Scalar(a)), Many::One(Value::Series(b))) => Many::One(Value::Series(left(a, &b))),
        (Many::One(Value::Series(a)), Many::One(Value::Series(b))) => Many::One(Value::Series(join(&a, &b))),
        (Many::Array(a), Many::One(Scalar(b))) => Many::Array(a.iter().map(|a| right(a, b)).collect()),
        (Many::Array(a), Many::One(Value::Series(b))) => Many::Array(a.iter().map(|a| join(a, &b)).collect()),
        (Many::One(Scalar(a)), Many::Array(b)) => Many::Array(b.iter().map(|b| left(a, b)).collect()),
        (Many::One(Value::Series(a)), Many::Array(b)) => Many::Array(b.iter().map(|b| join(&a, b)).collect()),
        (Many::Array(_), Many::Array(_)) => {
            return Err(MathError("two arrays of time series cannot be combined".into()));
        }
    })
}

impl Operator {
    fn binding(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Equal | Self::NotEqual | Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual => 3,
            Self::Add | Self::Subtract => 4,
            Self::Multiply | Self::Divide => 5,
            Self::Power => 7,
        }
    }

    /// `None` where there is no value, as after a division by zero.
    fn apply(self, a: f64, b: f64) -> Option<f64> {
        let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
        let value = match self {
            Self::Add => a + b,
            Self::Subtract => a - b,
            Self::Multiply => a * b,
            Self::Divide => a / b,
            Self::Power => a.powf(b),
            Self::Equal => truth(a == b),
            Self::NotEqual => truth(a != b),
            Self::Less => truth(a < b),
            Self::LessOrEqual => truth(a <= b),
            Self::Greater => truth(a > b),
            Self::GreaterOrEqual => truth(a >= b),
            Self::And => truth(a != 0.0 && b != 0.0),
            Self::Or => truth(a != 0.0 || b != 0.0),
        };
        value.is_finite().then_some(value)
    }
}

impl Function {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "ABS" => Self::Abs,
            "AVG" => Self::Average,
            "CEIL" => Self::Ceil,
            "DIFF" => Self::Diff,
            "FILL" => Self::Fill,
            "FLOOR" => Self::Floor,
            "IF" => Self::If,
            "MAX" => Self::Max,
            "MIN" => Self::Min,
            "PERIOD" => Self::Period,
            "RATE" => Self::Rate,
            "SUM" => Self::Sum,
            _ => return None,
        })
    }

    /// How many arguments it takes.
    fn arity(self) -> std::ops::RangeInclusive<usize> {
        match self {
            Self::Fill => 2..=2,
            Self::If => 2..=3,
            _ => 1..=1,
        }
    }

    fn call(self, arguments: &[Node], scope: &Scope<'_>) -> Result<Many, MathError> {
        let first = || arguments[0].evaluate(scope);
        Ok(match self {
            Self::Abs => map(first()?, f64::abs),
            Self::Ceil => map(first()?, f64::ceil),
            Self::Floor => map(first()?, f64::floor),
            Self::Sum => reduce(first()?, |values| values.iter().sum()),
            Self::Average => reduce(first()?, |values| values.iter().sum::<f64>() / values.len() as f64),
            Self::Max => reduce(first()?, |values| values.iter().copied().fold(f64::MIN, f64::max)),
            Self::Min => reduce(first()?, |values| values.iter().copied().fold(f64::MAX, f64::min)),
            Self::Diff => steps(first()?, |before, now| now.1 - before.1)?,
            Self::Rate => steps(first()?, |before, now| (now.1 - before.1) / (now.0 - before.0) as f64)?,
            Self::Period => {
                let Node::Id(id) = &arguments[0] else {
                    return Err(MathError("PERIOD takes the id of a metric".into()));
                };
                let period = scope.periods.get(id).ok_or_else(|| MathError(format!("{id} is no id of a query")))?;
                Many::One(Value::Scalar(*period as f64))
            }
            Self::Fill => fill(first()?, &arguments[1], scope)?,
            Self::If => choose(first()?, &arguments[1..], scope)?,
        })
    }
}

/// Of an array, the values of each time become one; of one series, all its values become a number.
fn reduce(value: Many, f: impl Fn(&[f64]) -> f64) -> Many {
    match value {
        Many::One(Value::Scalar(n)) => Many::One(Value::Scalar(n)),
        Many::One(Value::Series(series)) if series.is_empty() => Many::One(Value::Series(series)),
        Many::One(Value::Series(series)) => Many::One(Value::Scalar(f(&series.into_values().collect::<Vec<_>>()))),
        Many::Array(all) => {
            let mut by_time: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
            for (time, value) in all.into_iter().flatten() {
                by_time.entry(time).or_default().push(value);
            }
            Many::One(Value::Series(by_time.into_iter().map(|(t, values)| (t, f(&values))).collect()))
        }
    }
}

/// Each value with the one before it; the first has none and gives none.
fn steps(value: Many, f: impl Fn((i64, f64), (i64, f64)) -> f64) -> Result<Many, MathError> {
    let each = |series: Series| -> Series {
        let points: Vec<(i64, f64)> = series.into_iter().collect();
        points.windows(2).map(|pair| (pair[1].0, f(pair[0], pair[1]))).collect()
    };
    Ok(match value {
        Many::One(Value::Series(series)) => Many::One(Value::Series(each(series))),
        Many::Array(all) => Many::Array(all.into_iter().map(each).collect()),
        Many::One(Value::Scalar(_)) => return Err(MathError("RATE and DIFF take a time series".into())),
    })
}

/// What a time without a value gets.
type Filler = dyn Fn(i64, &Series) -> Option<f64>;

fn fill(value: Many, filler: &Node, scope: &Scope<'_>) -> Result<Many, MathError> {
    let with: Box<Filler> = match filler {
        Node::Repeat => Box::new(|t, series| series.range(..t).next_back().map(|(_, v)| *v)),
        other => match other.evaluate(scope)? {
            Many::One(Value::Scalar(n)) => Box::new(move |_, _| Some(n)),
            Many::One(Value::Series(filler)) => Box::new(move |t, _| filler.get(&t).copied()),
            Many::Array(_) => return Err(MathError("FILL takes a number, a time series or REPEAT".into())),
        },
    };
    let each = |series: Series| -> Series {
        let missing = scope.times.iter().filter(|t| !series.contains_key(t));
        let filled: Vec<(i64, f64)> = missing.filter_map(|t| Some((*t, with(*t, &series)?))).collect();
        series.into_iter().chain(filled).collect()
    };
    Ok(match value {
        Many::One(Value::Series(series)) => Many::One(Value::Series(each(series))),
        Many::Array(all) => Many::Array(all.into_iter().map(each).collect()),
        scalar => scalar,
    })
}

/// Where the condition is not 0 the first, elsewhere the second, if there is one.
fn choose(condition: Many, branches: &[Node], scope: &Scope<'_>) -> Result<Many, MathError> {
    let Many::One(condition) = condition else { return Err(MathError("IF takes no array of time series".into())) };
    let mut values = Vec::new();
    for branch in branches {
        let Many::One(value) = branch.evaluate(scope)? else {
            return Err(MathError("IF takes no array of time series".into()));
        };
        values.push(value);
    }
    if let (Value::Scalar(c), true) = (&condition, values.iter().all(|v| matches!(v, Value::Scalar(_)))) {
        let chosen = if *c != 0.0 { values.first() } else { values.get(1) };
        return Ok(Many::One(chosen.cloned().unwrap_or(Value::Series(Series::new()))));
    }
    let condition = condition.series(scope.times);
    let values: Vec<Series> = values.iter().map(|v| v.series(scope.times)).collect();
    let chosen = condition.iter().filter_map(|(t, c)| {
        let branch = if *c != 0.0 { values.first() } else { values.get(1) };
        Some((*t, *branch?.get(t)?))
    });
    Ok(Many::One(Value::Series(chosen.collect())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn evaluate(text: &str) -> Result<Value, MathError> {
        let values = BTreeMap::from([
            ("m1".to_owned(), Value::Series(Series::from([(0, 1.0), (60, 3.0), (120, 6.0)]))),
            ("m2".to_owned(), Value::Series(Series::from([(0, 10.0), (120, 0.0)]))),
            ("e1".to_owned(), Value::Scalar(2.0)),
        ]);
        let periods = BTreeMap::from([("m1".to_owned(), 60)]);
        let metrics = ["m1".to_owned(), "m2".to_owned()];
        let times = BTreeSet::from([0, 60, 120]);
        let scope = Scope { values: &values, metrics: &metrics, periods: &periods, times: &times };
        Expression::parse(text)?.evaluate(&scope)
    }

    fn series(points: &[(i64, f64)]) -> Result<Value, MathError> {
        Ok(Value::Series(points.iter().copied().collect()))
    }

    #[test]
    fn expressions() {
        for (text, expected) in [
            ("1 + 2 * 3 ^ 2", Ok(Value::Scalar(19.0))),
            ("-2 ^ 2", Ok(Value::Scalar(-4.0))),
            ("(1 + 2) * 3 - 4 - 5", Ok(Value::Scalar(0.0))),
            ("m1 + m2", series(&[(0, 11.0), (120, 6.0)])),
            ("100 * (m2 / m1)", series(&[(0, 1000.0), (120, 0.0)])),
            ("m1 / m2", series(&[(0, 0.1)])),
            ("SUM([m1, m2])", series(&[(0, 11.0), (60, 3.0), (120, 6.0)])),
            ("SUM(METRICS())", series(&[(0, 11.0), (60, 3.0), (120, 6.0)])),
            ("AVG(METRICS(\"m1\"))", series(&[(0, 1.0), (60, 3.0), (120, 6.0)])),
            ("MAX(m1)", Ok(Value::Scalar(6.0))),
            ("RATE(m1)", series(&[(60, 2.0 / 60.0), (120, 0.05)])),
            ("DIFF(m1)", series(&[(60, 2.0), (120, 3.0)])),
            ("FILL(m2, 0)", series(&[(0, 10.0), (60, 0.0), (120, 0.0)])),
            ("FILL(m2, REPEAT)", series(&[(0, 10.0), (60, 10.0), (120, 0.0)])),
            ("IF(m1 > e1, m1, 0)", series(&[(0, 0.0), (60, 3.0), (120, 6.0)])),
            ("IF(m1 > e1 AND m1 < 5, 1)", series(&[(60, 1.0)])),
            ("m1 / PERIOD(m1)", series(&[(0, 1.0 / 60.0), (60, 0.05), (120, 0.1)])),
        ] {
            assert_eq!(evaluate(text), expected, "{text}");
        }
    }

    #[test]
    fn refusals() {
        for text in [
            "",
            "m1 +",
            "m9",
            "(m1",
            "SEARCH('x', 'Sum')",
            "ANOMALY_DETECTION_BAND(m1)",
            "FILL(m1)",
            "SELECT AVG(x) FROM y",
            "[m1, m2]",
            "m1 m2",
            "RATE(1)",
            "1 $ 2",
        ] {
            assert!(evaluate(text).is_err(), "{text}");
        }
        assert!(Expression::parse(&"(".repeat(10_000)).is_err());
        assert!(Expression::parse(&"-".repeat(10_000)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[-m1a2A-F(),\\[\\]+*/^<>=&|\"' .]{0,60}") {
            let _ = evaluate(&text);
        }
    }
}
