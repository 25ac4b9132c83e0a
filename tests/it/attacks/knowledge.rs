//! What callers might learn without permission: from hypothetical decisions, from refusals, and from linking.

use std::time::Duration;

use crate::harness::{Aka, Answer, Caller, Uuid, Value, eventually, json, on_both_stores, unique};

on_both_stores![
    a_preview_reveals_nothing_that_the_caller_cannot_read,
    a_preview_shows_changes_to_callers_who_may_read_them,
    an_evaluation_uses_only_facts_that_the_caller_may_read,
    an_evaluation_does_not_reveal_whether_an_address_is_known,
    facts_that_no_rule_uses_need_not_be_readable,
    a_refusal_does_not_reveal_the_values_that_its_rules_used,
    linking_reveals_only_ids_and_what_was_sent,
];

/// A user whose address begins with a letter.
async fn user_with(acme: &Caller, letter: char) -> (Uuid, String) {
    let address = format!("{letter}{}@example.com", unique("secret"));
    let user = json!({ "email": address, "name": "Somebody" });
    (acme.post("/v1/users").json(user).await.expect(201).id(), address)
}

/// A rule that holds for users whose address begins with a letter.
fn guess(letter: char) -> String {
    format!("permit(principal, action == Action::\"getUser\", resource) when {{ resource.email like \"{letter}*\" }};")
}

async fn preview(caller: &Caller, rule: &str) -> Answer {
    let change = json!({ "with": [{ "priority": 9, "cedar_policy_set": rule }] });
    caller.post("/v1/policies/preview").json(change).await.expect(200)
}

/// Has a caller refused a user, and waits until that is in the decision log.
async fn refused_user(acme: &Caller, caller: &Caller, user: Uuid) {
    caller.get(format!("/v1/users/{user}")).await.refused(403, "forbidden");
    eventually(Duration::from_secs(5), "the refusal is in the log", async || {
        let actor = caller.key_id().to_string();
        let listed = acme.get("/v1/decisions").query("actor_id", &actor).await.expect(200);
        if listed.column("id").is_empty() {
            Err(listed)
        } else {
            Ok(())
        }
    })
    .await;
}

fn question(principal: &str, resource: &str) -> Value {
    json!({ "principal": principal, "action": "deleteUser", "resource": resource })
}

async fn evaluate(caller: &Caller, principal: &str, resource: &str) -> Answer {
    let question = question(principal, resource);
    caller.post("/v1/policies/evaluate").json(question).await
}

async fn a_preview_reveals_nothing_that_the_caller_cannot_read(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, _) = user_with(&acme, 'q').await;
    // They may read keys, so that only the user stands in the way.
    let prober = acme.limited_to(&["policies:read", "api-keys:read"]).await;
    refused_user(&acme, &prober, user).await;

    let mut answers = Vec::new();
    for letter in ['q', 'z'] {
        let told = preview(&prober, &guess(letter)).await;
        assert!(told["withheld"].as_u64().is_some_and(|withheld| withheld > 0), "{told}");
        answers.push(told.json);
    }

    assert_eq!(answers[0], answers[1], "a right guess looks like a wrong one");
    assert!(!answers[0].to_string().contains(&user.to_string()), "{}", answers[0]);
}

async fn a_preview_shows_changes_to_callers_who_may_read_them(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, _) = user_with(&acme, 'q').await;
    let prober = acme.limited_to(&["policies:read"]).await;
    refused_user(&acme, &prober, user).await;

    let author = acme.limited_to(&["policies:read", "users:read", "api-keys:read"]).await;
    let right = preview(&author, &guess('q')).await;
    assert_eq!(
        (&right["changed"], &right["withheld"]),
        (&json!(1), &json!(0)),
        "{right}"
    );
    assert_eq!(preview(&author, &guess('z')).await["changed"], 0);
}

async fn an_evaluation_uses_only_facts_that_the_caller_may_read(aka: Aka) {
    let acme = aka.tenant().await;
    let rule = guess('q').replace("getUser", "deleteUser");
    acme.policy(9, &rule).await;
    let (user, address) = user_with(&acme, 'q').await;
    let (user, nobody) = (format!("user:{user}"), format!("user:{}", Uuid::now_v7()));
    let prober = acme.limited_to(&["policies:read"]).await;
    let own = format!("api_key:{}", prober.key_id());
    let other = format!("api_key:{}", acme.key_id());

    for (principal, resource, withheld) in [
        // The rule looks at the resource.
        (&own, &user, json!(["resource"])),
        (&own, &nobody, json!(["resource"])),
        (&user, &user, json!(["principal", "resource"])),
        (&other, &user, json!(["principal", "resource"])),
    ] {
        let answer = evaluate(&prober, principal, resource).await.expect(200);
        assert_eq!(answer["facts_withheld"], withheld, "{answer}");
        assert_eq!(answer["permitted"], false, "{answer}");
        assert!(!answer.text().contains(&address), "{answer}");
    }

    let author = acme.limited_to(&["policies:read", "users:read"]).await;
    let answer = evaluate(&author, &user, &user).await.expect(200);
    assert_eq!(
        (&answer["permitted"], &answer["facts_withheld"]),
        (&json!(true), &json!([]))
    );
}

async fn an_evaluation_does_not_reveal_whether_an_address_is_known(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, address) = user_with(&acme, 'q').await;
    let prober = acme.limited_to(&["policies:read"]).await;

    let mut answers = Vec::new();
    for address in [&address, "qnobody@example.com"] {
        let answer = evaluate(&prober, &format!("user:{address}"), &format!("user:{user}")).await;
        answers.push(answer.expect(200).json);
    }

    assert_eq!(answers[0], answers[1]);
}

async fn facts_that_no_rule_uses_need_not_be_readable(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, _) = user_with(&acme, 'q').await;
    let prober = acme.limited_to(&["policies:read"]).await;
    let (own, user) = (format!("api_key:{}", prober.key_id()), format!("user:{user}"));

    let answer = evaluate(&prober, &own, &user).await.expect(200);

    assert_eq!(
        (&answer["permitted"], &answer["kind"]),
        (&json!(false), &json!("not_permitted"))
    );
}

async fn a_refusal_does_not_reveal_the_values_that_its_rules_used(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, address) = user_with(&acme, 'q').await;
    acme.policy(9, &guess('z')).await;
    let prober = acme.limited_to(&["policies:read"]).await;

    let refusal = prober.get(format!("/v1/users/{user}")).await.refused(403, "forbidden");

    assert!(refusal["details"]["explanations"].is_array(), "{refusal}");
    assert!(!refusal.text().contains(&address), "{refusal}");
    assert!(refusal.text().contains("withheld"), "{refusal}");
}

async fn linking_reveals_only_ids_and_what_was_sent(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    let account = json!({
        "identity_provider_id": provider,
        "external_id": "583231",
        "external_username": "octocat",
        "external_email": "octocat@example.com",
    });
    let path = format!("/v1/users/{user}/identities");
    let known = acme.post(&path).json(account).await.expect(201).id();
    acme.unlink(user, known).await.expect(204);

    let linker = acme.limited_to(&["identities:write"]).await;
    let account = json!({ "identity_provider_id": provider, "external_id": "583231", "external_username": "cat" });
    let link = || {
        let request = linker.post(&path).json(&account);
        request.header("idempotency-key", &format!("{known}"))
    };
    let shown = |answer: &Answer| {
        let fields = [
            "id",
            "external_id",
            "external_username",
            "external_email",
            "external_display_name",
        ];
        fields.map(|field| answer[field].clone())
    };
    let sent = [json!(known), json!("583231"), json!("cat"), Value::Null, Value::Null];
    assert_eq!(shown(&link().await.expect(201)), sent);
    assert_eq!(shown(&link().await.expect(201)), sent, "nor when it is answered again");
    let again = linker.link(user, provider, "583231").await.expect(200);
    assert!(!again.text().contains("example.com"), "{again}");

    // Whoever may read it sees what is known.
    let read = acme.get(format!("{path}/{known}")).await.expect(200);
    assert_eq!(read["external_email"], "octocat@example.com");
    let reader = acme.limited_to(&["identities:write", "identities:read"]).await;
    let again = reader.link(user, provider, "583231").await.expect(200);
    assert_eq!(again["external_email"], "octocat@example.com");
}
