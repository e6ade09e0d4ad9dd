//! Operations: how a handler is written, found and called.
//!
//! A handler is a plain function `fn handle(ctx: &mut Ctx<'_>, input: Input) -> Result<Output>` in
//! `<service>/<operation>.rs`. It runs inside one store transaction that is committed if it returns
//! `Ok` and undone if not, so a refused request changes nothing.

use crate::platform::Platform;
use crate::store::{StoreError, Tx};
use quarry_wire::{Operation, OperationModel, ServiceError, Structure};
use std::any::Any;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

/// Result of an operation: its output, or the service's own error.
pub type Result<T, E = ServiceError> = std::result::Result<T, E>;

/// What a handler works with.
pub struct Ctx<'a> {
    pub tx: &'a Tx<'a>,
    pub platform: &'a Platform,
    pub operations: &'a Operations,
    pub caller: Caller,
}

/// Who signed the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub access_key: String,
    /// ARN of the user, or of the assumed role.
    pub arn: String,
}

/// All served operations, found by service and name.
#[derive(Default)]
pub struct Operations {
    by_name: HashMap<(&'static str, &'static str), Arc<dyn Handler>>,
}

/// A handler without its types.
pub trait Handler: Send + Sync {
    fn model(&self) -> &'static OperationModel;
    /// An empty input, for a codec to fill.
    fn input(&self) -> Box<dyn AnyShape>;
    /// `input` must come from [`input`](Self::input) of the same handler.
    fn call(&self, ctx: &mut Ctx<'_>, input: Box<dyn AnyShape>) -> Result<Box<dyn AnyShape>>;
}

/// An input or output without its type: codecs see the structure, handlers get the value back.
pub trait AnyShape: Structure {
    fn structure(&mut self) -> &mut dyn Structure;
    fn seen(&self) -> &dyn Structure;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<T: Structure + 'static> AnyShape for T {
    fn structure(&mut self) -> &mut dyn Structure {
        self
    }

    fn seen(&self) -> &dyn Structure {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

struct Typed<O: Operation, F> {
    function: F,
    operation: PhantomData<fn() -> O>,
}

impl<O, F> Handler for Typed<O, F>
where
    O: Operation,
    F: Fn(&mut Ctx<'_>, O::Input) -> Result<O::Output> + Send + Sync,
{
    fn model(&self) -> &'static OperationModel {
        O::model()
    }

    fn input(&self) -> Box<dyn AnyShape> {
        Box::new(O::Input::default())
    }

    fn call(&self, ctx: &mut Ctx<'_>, input: Box<dyn AnyShape>) -> Result<Box<dyn AnyShape>> {
        let input = input.into_any().downcast::<O::Input>().expect("the input is of the handler's own type");
        Ok(Box::new((self.function)(ctx, *input)?))
    }
}

impl Operations {
    /// Serves an operation by a function.
    pub fn serve<O: Operation>(
        &mut self,
        function: impl Fn(&mut Ctx<'_>, O::Input) -> Result<O::Output> + Send + Sync + 'static,
    ) {
        let handler = Typed::<O, _> { function, operation: PhantomData };
        let replaced = self.by_name.insert((O::service().id, O::NAME), Arc::new(handler));
        debug_assert!(replaced.is_none(), "{} is served twice", O::NAME);
    }

    pub fn find(&self, service: &'static str, name: &'static str) -> Option<&Arc<dyn Handler>> {
        self.by_name.get(&(service, name))
    }

    /// Service and name of everything that is served.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.by_name.keys().copied()
    }
}

impl Ctx<'_> {
    /// Calls another operation inside the same transaction, as CloudFormation does.
    pub fn invoke<O: Operation>(&mut self, input: O::Input) -> Result<O::Output> {
        let operations = self.operations;
        let handler = operations
            .find(O::service().id, O::NAME)
            .ok_or_else(|| ServiceError::new("InternalFailure", format!("{} is not served here", O::NAME), 500))?;
        let output = handler.call(self, Box::new(input))?;
        Ok(*output.into_any().downcast::<O::Output>().expect("the output is of the operation's own type"))
    }
}

/// Runs `f` as one of Quarry's own transactions, with the same powers as an API call.
pub fn internally<T>(
    platform: &Platform,
    operations: &Operations,
    f: impl FnOnce(&mut Ctx<'_>) -> Result<T>,
) -> Result<T> {
    platform.store.write(|tx| {
        let place = platform.place();
        let caller = Caller { access_key: String::new(), arn: place.global_arn("iam", "root") };
        f(&mut Ctx { tx, platform, operations, caller })
    })
}

impl From<StoreError> for ServiceError {
    /// A store failure shows as the internal failure it is.
    fn from(error: StoreError) -> Self {
        Self::new("InternalFailure", error.to_string(), 500)
    }
}
