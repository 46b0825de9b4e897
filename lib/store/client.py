"""obstore's client of a bucket, with what the environment says of the server and of who may use it.

The variables are those of Amazon's own tools. What they hold is never said or logged.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lib.errors import StoreError
from lib.extras import require

if TYPE_CHECKING:
    from obstore.store import S3Store

RETRIES = 5
SECONDS = 120  # of one request
PATIENCE = timedelta(seconds=150)  # with a server that keeps failing: one request of which nothing is heard is repeated
FRESH = timedelta(minutes=5)  # how long the credentials of a profile are used before they are asked for again
CREDENTIALS = "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def endpoint() -> str:
    """Returns the address of the server; empty: Amazon's."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def opened(bucket: str, prefix: str) -> S3Store:
    """Returns obstore's client, with what the environment says of the server and of who may use it."""
    from obstore.store import S3Store

    server = endpoint()
    found: dict[str, Any] = {} if "AWS_ACCESS_KEY_ID" in os.environ else _profile()
    if server:
        found["endpoint"] = server
    return S3Store(
        bucket,
        prefix=prefix or None,
        client_options={"connect_timeout": "10s", "timeout": f"{SECONDS}s", "allow_http": _may_be_plain(server)},
        retry_config={"max_retries": RETRIES, "retry_timeout": PATIENCE},
        **found,
    )


def _may_be_plain(server: str) -> bool:
    """Whether requests need not be encrypted: on this machine, or where AWS_ALLOW_HTTP says so. Raises StoreError if
    the address asks for it nevertheless."""
    if not server.lower().startswith("http://"):
        return False
    host = urlsplit(server).hostname or ""
    with suppress(ValueError):
        if ip_address(host).is_loopback:
            return True
    if host == "localhost" or os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true", "yes"):
        return True
    raise StoreError(
        f"{server} is not encrypted: let AWS_ENDPOINT_URL name an https:// address, or set AWS_ALLOW_HTTP=true where"
        " the network between is trusted"
    )


def _profile() -> dict[str, Any]:
    """Returns the credentials of a profile, a role or a machine, which botocore finds where Amazon's tools do."""
    require("botocore", "s3", "a profile of credentials")
    import botocore.session

    session = botocore.session.get_session()
    found = session.get_credentials()
    if found is None:
        raise StoreError(f"there are no credentials for an artifact store on a server: set {CREDENTIALS}")

    def provide() -> dict[str, Any]:
        now = found.get_frozen_credentials()
        until = datetime.now().astimezone() + FRESH
        return {
            "access_key_id": now.access_key,
            "secret_access_key": now.secret_key,
            "token": now.token,
            "expires_at": until,
        }

    region = session.get_config_variable("region")
    return {"credential_provider": provide, **({"region": region} if region else {})}
