//! Prints the console's page of the Quarry that `eval "$(quarry env)"` points at.

use quarry_client::{Client, Credentials};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::var("AWS_ENDPOINT_URL")?;
    let client = Client::new(&endpoint, std::env::var("AWS_REGION")?, Credentials::from_env()?)?;
    print!("{}", quarry_console::page_paused(&client, &endpoint).await?);
    Ok(())
}
