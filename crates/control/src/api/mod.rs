//! Operations: how a handler is written, found and called.
//!
//! A handler is a plain function `fn handle(ctx: &mut Ctx<'_>, input: Input) -> Result<Output>` in
//! `<service>/<operation>.rs`. It runs inside one store transaction that is committed if it returns
//! `Ok` and undone if not, so a refused request changes nothing.

use crate::audit::{self, Event, Origin, Parameters};
use crate::authorization::{self, Acting, Circumstances};
use crate::platform::Platform;
use crate::store::{StoreError, Tx};
use quarry_wire::{Operation, OperationModel, ServiceError, ServiceModel, Structure};
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
    /// The service in whose name operations are called for the caller, whose policies are evaluated for each, such as
    /// `cloudformation.amazonaws.com`. `None`: the call itself was evaluated, and what it calls is the service's own.
    pub via: Option<&'static str>,
}

/// Who signed the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub access_key: String,
    /// ARN of the user, or of the assumed role.
    pub arn: String,
    /// Whose policies count; `None` for the account's root user, who may do everything.
    pub acting: Option<Acting>,
}

impl Caller {
    /// The account's root user, who is also the platform itself.
    pub fn root(platform: &Platform) -> Self {
        Self { access_key: String::new(), arn: platform.place().global_arn("iam", "root"), acting: None }
    }
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
        self.insert(O::service().id, O::NAME, Arc::new(Typed::<O, _> { function, operation: PhantomData }));
    }

    fn insert(&mut self, service: &'static str, name: &'static str, handler: Arc<dyn Handler>) {
        let replaced = self.by_name.insert((service, name), handler);
        debug_assert!(replaced.is_none(), "{name} is served twice");
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
        let output = self.invoke_by_name(O::service(), O::NAME, |_| Ok(Box::new(input)))?;
        Ok(*output.into_any().downcast::<O::Output>().expect("the output is of the operation's own type"))
    }

    /// The same without types.
    pub fn invoke_by_name(
        &mut self,
        service: &'static ServiceModel,
        operation: &'static str,
        input: impl FnOnce(&dyn Handler) -> Result<Box<dyn AnyShape>>,
    ) -> Result<Box<dyn AnyShape>> {
        let handler = self
            .operations
            .find(service.id, operation)
            .ok_or_else(|| ServiceError::new("InternalFailure", format!("{operation} is not served here"), 500))?;
        let input = input(&**handler)?;
        self.called(service, &**handler, input)
    }

    fn called(
        &mut self,
        service: &'static ServiceModel,
        handler: &dyn Handler,
        input: Box<dyn AnyShape>,
    ) -> Result<Box<dyn AnyShape>> {
        let operation = handler.model().name;
        let via = self.via.take();
        let noted = via.filter(|_| !reads_only(operation)).map(|via| (via, Parameters::of(input.seen())));
        let evaluated = self.evaluated(via, service, operation, input.seen());
        let called = evaluated.and_then(|()| handler.call(self, input));
        self.via = via;
        if let Some((via, parameters)) = noted {
            self.note(via, service, operation, parameters, &called);
        }
        called
    }

    /// Writes down what a service did on the caller's behalf, or was refused.
    fn note(
        &self,
        via: &'static str,
        service: &'static ServiceModel,
        operation: &'static str,
        parameters: Parameters,
        called: &Result<Box<dyn AnyShape>>,
    ) {
        let role_arn = |acting: &Acting| {
            let permissions = authorization::permissions(self.platform, self.tx, acting).ok()?;
            permissions.role_arn().map(str::to_owned)
        };
        let request_id = self.platform.door.uuid();
        let event = Event {
            service: Some(service),
            operation,
            caller: Some(&self.caller),
            role_arn: self.caller.acting.as_ref().and_then(role_arn),
            parameters,
            response: called.as_ref().ok().map(|output| Parameters::of(output.seen()).shown),
            error: called.as_ref().err(),
            request_id: &request_id,
            invoked_by: Some(via),
            ..Default::default()
        };
        audit::write(self.platform, Origin::service(via), event);
    }

    /// What only looks is not evaluated: which state a service reads on its way is its own business. Values are.
    fn evaluated(
        &self,
        via: Option<&'static str>,
        service: &'static ServiceModel,
        operation: &'static str,
        input: &dyn Structure,
    ) -> Result<()> {
        let (Some(via), Some(acting)) = (via, &self.caller.acting) else { return Ok(()) };
        if reads_only(operation) && !["secretsmanager", "ssm"].contains(&service.id) {
            return Ok(());
        }
        let call = authorization::Call { service, operation, protocol: service.protocol, input };
        let circumstances = Circumstances { via: Some(via), ..Default::default() };
        authorization::check(self.platform, self.tx, acting, &call, circumstances)
    }
}

/// Operations that only look run on the last commit and wait for no writer.
pub fn reads_only(operation: &str) -> bool {
    // The day on which a secret was read is written down.
    !["GetSecretValue", "BatchGetSecretValue"].contains(&operation)
        && [
            "Describe",
            "List",
            "Get",
            "BatchGet",
            "Validate",
            "Filter",
            "Lookup",
            "Discover",
            "Simulate",
            "Test",
            "StartLiveTail",
        ]
        .iter()
        .any(|verb| operation.starts_with(verb))
}

/// Runs `f` as one of Quarry's own transactions, with the same powers as an API call.
pub fn internally<T>(
    platform: &Platform,
    operations: &Operations,
    f: impl FnOnce(&mut Ctx<'_>) -> Result<T>,
) -> Result<T> {
    platform.store.write(|tx| f(&mut Ctx { tx, platform, operations, caller: Caller::root(platform), via: None }))
}

impl From<StoreError> for ServiceError {
    /// A store failure shows as the internal failure it is.
    fn from(error: StoreError) -> Self {
        Self::new("InternalFailure", error.to_string(), 500)
    }
}
