"""`moor up` with `spec.access`: whose keys count, and that its own ends."""

import asyncio

import pytest
from tests.builders import model_deployment
from tests.unit.access.callers import header, made_key

from moorage.access.errors import Unauthenticated
from moorage.access.gate import Gate
from moorage.access.stores import write_file
from moorage.api.access import AccessSettings
from moorage.cli.errors import UserError
from moorage.cli.up_access import local_access
from moorage.render import local_settings

KEYS = {"apiKeys": {"secret": "cats-keys"}}


def caller(settings, key):
    return asyncio.run(Gate(settings).authenticate(header(key)))


def test_without_access_everybody_may_call(tmp_path):
    with local_access(model_deployment(), tmp_path / "cat.yaml") as access:
        assert (access.settings, access.headers) == ({}, {})


def test_the_keys_lie_beside_the_file_and_moor_up_has_one_of_its_own_until_its_photo_is_answered(tmp_path):
    key, stored = made_key()
    write_file(tmp_path / "cat.keys.json", [stored])
    with local_access(model_deployment(access=KEYS), tmp_path / "cat.yaml") as access:
        settings = AccessSettings(**access.settings)
        own = access.headers["X-API-Key"]
        assert caller(settings, key).id == "alice"
        assert caller(settings, own).role == "read-write"
        access.end_own_key()
        with pytest.raises(Unauthenticated):
            caller(settings, own)


def test_without_that_file_it_says_how_to_make_it(tmp_path):
    with (
        pytest.raises(UserError, match=r"moor keys create --file .*/cat\.keys\.json"),
        local_access(model_deployment(access=KEYS), tmp_path / "cat.yaml"),
    ):
        pass


def test_tokens_are_accepted_as_in_a_cluster(tmp_path):
    jwt = {"issuer": "https://a", "audience": "b", "jwksUri": "https://a/k", "role": "read", "tenantClaim": "org"}
    deployment = model_deployment(access={"jwt": jwt})
    with local_access(deployment, tmp_path / "cat.yaml") as access:
        settings = local_settings(deployment, **access.settings)
    assert (settings.jwt_issuer, settings.jwt_jwks_url) == ("https://a", "https://a/k")
    assert (settings.jwt_role, settings.jwt_tenant_claim, settings.jwt_subject_claim) == ("read", "org", "sub")
    assert settings.access_keys_file is None
