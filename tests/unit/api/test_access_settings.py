import pytest
from pydantic import ValidationError

from moorage.api import PredictorSettings
from moorage.api.access import AccessSettings

EVERYTHING = {
    "access_keys_file": "keys.json",
    "access_keys_dir": "/etc/keys",
    "access_keys_redis_url": "redis://user:s3cret@host/0",
    "access_key_header": "x-model-key",
    "jwt_issuer": "https://a",
    "jwt_audience": "b",
    "jwt_jwks_url": "https://a/k",
    "jwt_algorithms": ("ES256", "EdDSA"),
    "jwt_leeway_s": 5.0,
    "jwt_subject_claim": "client_id",
    "jwt_role": "read",
    "jwt_role_claim": "realm_access.roles",
    "jwt_models_claim": "models",
    "jwt_tenant_claim": "org",
}


def of(**changes: object) -> PredictorSettings:
    return PredictorSettings.model_validate({"model_name": "cats", "task": "a:B", **changes})


def test_all_of_access_travels_in_argv_and_the_environment() -> None:
    settings = of(**EVERYTHING)
    assert PredictorSettings.parse(settings.argv(), settings.env()) == settings
    assert set(AccessSettings.model_fields) == {*EVERYTHING, "access_keys_redis_url_file", "jwt_jwks_file"}


def test_a_password_is_never_in_argv() -> None:
    settings = of(**EVERYTHING)
    assert "s3cret" not in "".join(settings.argv()) + repr(settings)
    assert settings.env()["MOORAGE_ACCESS_KEYS_REDIS_URL"] == EVERYTHING["access_keys_redis_url"]
    with pytest.raises(SystemExit):
        PredictorSettings.parse(["--task=a:B", "--access-keys-redis-url=redis://h"], {})


@pytest.mark.parametrize("one", ["access_keys_file", "access_keys_dir", "access_keys_redis_url"])
def test_each_place_for_keys_alone_turns_access_on(one: str) -> None:
    assert not of().controls_access
    assert of(**{one: EVERYTHING[one]}).controls_access


def test_a_redis_is_named_once() -> None:
    with pytest.raises(ValidationError, match="expected one of --access-keys-redis-url-file"):
        of(access_keys_redis_url="redis://a", access_keys_redis_url_file="url")
