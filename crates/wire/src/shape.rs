//! How codecs reach into the generated structs without knowing their types.

use std::collections::BTreeMap;
use std::fmt;

use crate::scalar::{Blob, Document, Timestamp};
use crate::schema::{OperationModel, Schema, ServiceModel};

/// A struct with a member table.
pub trait Structure: Send + Sync {
    /// Its table.
    fn schema(&self) -> &'static Schema;
    /// The member at this index of the table.
    fn member(&self, index: usize) -> &dyn Value;
    /// The member at this index of the table, for writing.
    fn member_mut(&mut self, index: usize) -> &mut dyn Value;
}

/// A generated struct: a [`Structure`] that is also an ordinary value.
pub trait Shape: Structure + Clone + Default + fmt::Debug + PartialEq + 'static {
    /// The table of this type.
    const SCHEMA: &'static Schema;
}

/// An operation of a service, as a type.
pub trait Operation: Send + Sync + 'static {
    type Input: Shape;
    type Output: Shape;
    const NAME: &'static str;
    /// The service it belongs to.
    fn service() -> &'static ServiceModel;
    /// Its table, with errors and pagination.
    fn model() -> &'static OperationModel;
}

/// Anything a member can hold.
pub trait Value {
    /// What is there.
    fn view(&self) -> View<'_>;
    /// A place to write to; an absent value becomes present with its default.
    fn slot(&mut self) -> Slot<'_>;
}

/// A value, seen.
#[derive(Clone, Copy)]
pub enum View<'a> {
    Absent,
    Boolean(bool),
    Integer(i32),
    Long(i64),
    Double(f64),
    String(&'a str),
    Timestamp(Timestamp),
    Blob(&'a [u8]),
    Document(&'a Document),
    List(&'a dyn List),
    Map(&'a dyn Map),
    Structure(&'a dyn Structure),
}

/// A value, to be written.
pub enum Slot<'a> {
    Boolean(&'a mut bool),
    Integer(&'a mut i32),
    Long(&'a mut i64),
    Double(&'a mut f64),
    String(&'a mut String),
    Timestamp(&'a mut Timestamp),
    Blob(&'a mut Vec<u8>),
    Document(&'a mut Document),
    List(&'a mut dyn List),
    Map(&'a mut dyn Map),
    Structure(&'a mut dyn Structure),
}

/// A list of any element type.
pub trait List {
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn get(&self, index: usize) -> Option<&dyn Value>;
    /// Appends a default element and returns it.
    fn push(&mut self) -> &mut dyn Value;
}

/// A map from text to any value type.
pub trait Map {
    /// In the order of the keys.
    fn entries(&self) -> Vec<(&str, &dyn Value)>;
    /// Inserts a default value, replacing an older one, and returns it.
    fn insert(&mut self, key: String) -> &mut dyn Value;
}

/// The input or output of an operation that has none.
#[derive(Clone, Default, PartialEq)]
pub struct Empty {}

static EMPTY: Schema = Schema::new("Empty", &[]);

crate::shape!(Empty, EMPTY;);

/// Implements [`Structure`], [`Shape`], [`Value`], `Debug` and serde's traits for a struct:
/// `shape!(Cluster, CLUSTER; 0 cluster_arn, 1 cluster_name);`
#[macro_export]
macro_rules! shape {
    ($name:ident, $schema:path; $($index:literal $field:ident),* $(,)?) => {
        impl $crate::Structure for $name {
            fn schema(&self) -> &'static $crate::Schema {
                &$schema
            }
            fn member(&self, index: usize) -> &dyn $crate::Value {
                match index {
                    $($index => &self.$field,)*
                    _ => $crate::no_such_member(),
                }
            }
            fn member_mut(&mut self, index: usize) -> &mut dyn $crate::Value {
                match index {
                    $($index => &mut self.$field,)*
                    _ => $crate::no_such_member(),
                }
            }
        }
        impl $crate::Shape for $name {
            const SCHEMA: &'static $crate::Schema = &$schema;
        }
        impl $crate::Value for $name {
            fn view(&self) -> $crate::View<'_> {
                $crate::View::Structure(self)
            }
            fn slot(&mut self) -> $crate::Slot<'_> {
                $crate::Slot::Structure(self)
            }
        }
        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                $crate::debug(self, f)
            }
        }
        impl $crate::serde::Serialize for $name {
            fn serialize<S: $crate::serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                $crate::json::serialize(self, s)
            }
        }
        impl<'de> $crate::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let mut shape = Self::default();
                $crate::json::deserialize(&mut shape, d)?;
                Ok(shape)
            }
        }
    };
}

/// A member table and its struct disagree: a fault of the generator, never of a request.
#[doc(hidden)]
#[cold]
pub fn no_such_member() -> ! {
    panic!("member index outside the shape's table")
}

/// Prints the members that are present, hiding sensitive ones.
#[doc(hidden)]
pub fn debug(shape: &dyn Structure, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let schema = shape.schema();
    let mut out = f.debug_struct(schema.name);
    for (i, member) in schema.members.iter().enumerate() {
        match shape.member(i).view() {
            View::Absent => {}
            _ if member.ty.sensitive => {
                out.field(member.name, &format_args!("***"));
            }
            view => {
                out.field(member.name, &Printed(view, member.ty));
            }
        }
    }
    out.finish()
}

struct Printed<'a>(View<'a>, &'static crate::Type);

impl fmt::Debug for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::Kind;
        if self.1.sensitive {
            return f.write_str("***");
        }
        match (self.0, &self.1.kind) {
            (View::Absent, _) => f.write_str("None"),
            (View::Boolean(v), _) => v.fmt(f),
            (View::Integer(v), _) => v.fmt(f),
            (View::Long(v), _) => v.fmt(f),
            (View::Double(v), _) => v.fmt(f),
            (View::String(v), _) => v.fmt(f),
            (View::Timestamp(v), _) => fmt::Display::fmt(&v, f),
            (View::Blob(v), _) => write!(f, "<{} bytes>", v.len()),
            (View::Document(v), _) => fmt::Display::fmt(v, f),
            (View::List(v), Kind::List(element)) => {
                let items = (0..v.len()).filter_map(|i| v.get(i));
                f.debug_list().entries(items.map(|e| Printed(e.view(), element.ty))).finish()
            }
            (View::Map(v), Kind::Map(key, value)) => f
                .debug_map()
                .entries(
                    v.entries()
                        .into_iter()
                        .map(|(k, e)| (Printed(View::String(k), key.ty), Printed(e.view(), value.ty))),
                )
                .finish(),
            (View::Structure(v), _) => debug(v, f),
            (View::List(_) | View::Map(_), _) => f.write_str("?"),
        }
    }
}

macro_rules! scalar {
    ($type:ty, $variant:ident) => {
        impl Value for $type {
            fn view(&self) -> View<'_> {
                View::$variant(*self)
            }
            fn slot(&mut self) -> Slot<'_> {
                Slot::$variant(self)
            }
        }
    };
}

scalar!(bool, Boolean);
scalar!(i32, Integer);
scalar!(i64, Long);
scalar!(f64, Double);
scalar!(Timestamp, Timestamp);

impl Value for String {
    fn view(&self) -> View<'_> {
        View::String(self)
    }
    fn slot(&mut self) -> Slot<'_> {
        Slot::String(self)
    }
}

impl Value for Blob {
    fn view(&self) -> View<'_> {
        View::Blob(&self.0)
    }
    fn slot(&mut self) -> Slot<'_> {
        Slot::Blob(&mut self.0)
    }
}

impl Value for Document {
    fn view(&self) -> View<'_> {
        View::Document(self)
    }
    fn slot(&mut self) -> Slot<'_> {
        Slot::Document(self)
    }
}

impl<T: Value + Default> Value for Option<T> {
    fn view(&self) -> View<'_> {
        match self {
            Some(value) => value.view(),
            None => View::Absent,
        }
    }
    fn slot(&mut self) -> Slot<'_> {
        self.get_or_insert_default().slot()
    }
}

impl<T: Value> Value for Box<T> {
    fn view(&self) -> View<'_> {
        (**self).view()
    }
    fn slot(&mut self) -> Slot<'_> {
        (**self).slot()
    }
}

impl<T: Value + Default> Value for Vec<T> {
    fn view(&self) -> View<'_> {
        View::List(self)
    }
    fn slot(&mut self) -> Slot<'_> {
        Slot::List(self)
    }
}

impl<T: Value + Default> List for Vec<T> {
    fn len(&self) -> usize {
        Vec::len(self)
    }
    fn get(&self, index: usize) -> Option<&dyn Value> {
        match <[T]>::get(self, index) {
            Some(value) => Some(value),
            None => None,
        }
    }
    fn push(&mut self) -> &mut dyn Value {
        let index = Vec::len(self);
        Vec::push(self, T::default());
        &mut self[index]
    }
}

impl<T: Value + Default> Value for BTreeMap<String, T> {
    fn view(&self) -> View<'_> {
        View::Map(self)
    }
    fn slot(&mut self) -> Slot<'_> {
        Slot::Map(self)
    }
}

impl<T: Value + Default> Map for BTreeMap<String, T> {
    fn entries(&self) -> Vec<(&str, &dyn Value)> {
        self.iter().map(|(k, v)| (k.as_str(), v as &dyn Value)).collect()
    }
    fn insert(&mut self, key: String) -> &mut dyn Value {
        let value = self.entry(key).or_default();
        *value = T::default();
        value
    }
}
