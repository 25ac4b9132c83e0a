"""What Schemathesis must not do: take away the key with which it calls, and the policy that lets this key do everything
whatever other policies it has made. And an id that is null in one answer it would send in
the next request as nothing, or as the text None."""

import os
import uuid

import schemathesis

KEPT = {os.environ["KEPT_API_KEY"], os.environ["KEPT_POLICY"]}


def has_no_value(value):
    return value is None or value == "None"


@schemathesis.hook
def before_call(context, case, kwargs):
    for name, value in (case.path_parameters or {}).items():
        if has_no_value(value) or (value in KEPT and case.method.upper() != "GET"):
            case.path_parameters[name] = str(uuid.uuid4())
    for name, value in (case.query or {}).items():
        if has_no_value(value):
            case.query[name] = str(uuid.uuid4())
    # Where another part of the request is at a limit, the coverage phase sends 0 as a valid If-Match. It does not match the
    # documented pattern; with its quotation marks it does.
    positive = case.meta is not None and case.meta.generation.mode.is_positive
    if positive and (case.headers or {}).get("If-Match") == "0":
        case.headers["If-Match"] = '"0"'
