/// Declares an operation's marker type.
macro_rules! operation {
    ($name:ident, $model:ident, $input:ty, $output:ty) => {
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl quarry_wire::Operation for $name {
            type Input = $input;
            type Output = $output;
            const NAME: &'static str = stringify!($name);
            fn service() -> &'static quarry_wire::ServiceModel {
                &super::SERVICE
            }
            fn model() -> &'static quarry_wire::OperationModel {
                &$model
            }
        }
    };
}
pub(crate) use operation;
