    // echo and nest

    fn world(&self, path: String) -> Result<WorldOutputs, CryptletError> {
        let call = context::current();
        let response = fetch::get("prices", &path)?;
        let body = String::from_utf8_lossy(&response.body).into_owned();
        Ok(WorldOutputs {
            now: clock::now(),
            height: call.height,
            caller: call.caller,
            seed: Bytes(random::bytes(32)),
            price: format!("{} {}", response.status, body),
        })
    }

    fn fail_as(&self, how: String) -> Result<u32, CryptletError> {
        match how.as_str() {
            "denied" => Err(CryptletError::Denied("not you".to_owned())),
            "unavailable" => Err(CryptletError::Unavailable("not now".to_owned())),
            "internal" => Err(CryptletError::Internal("my fault".to_owned())),
            _ => Ok(1 << 24),
        }
    }
