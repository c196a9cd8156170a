//! What a check of type `mysql` asks.

use crate::config::model::MysqlCheck;
use crate::config::section::Section;
use crate::config::units::Fault;

pub(super) fn mysql(section: &Section<'_>) -> Option<MysqlCheck> {
    if !section.has("user") {
        let help = "write user = \"evenkeel\"; an account that the server does not know is fine: its refusal proves that it is alive";
        section.missing("user", help);
    }
    let clean = |what: &'static str| {
        move |text: &str| {
            let fault = Fault::new("text", format!("`{what}` cannot be sent"), "holds a NUL byte");
            if text.contains('\0') { Err(fault) } else { Ok(text.into()) }
        }
    };
    let password = section.parsed("password", clean("password"));
    let user = section.parsed("user", |text| {
        if text.is_empty() || text.len() > 80 {
            return Err(
                Fault::new("text", "`user` is not a user name", "1 to 80 bytes").help("write user = \"evenkeel\"")
            );
        }
        clean("user")(text)
    })?;
    Some(MysqlCheck { user, password: password.unwrap_or_else(|| "".into()) })
}
