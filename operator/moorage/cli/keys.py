"""`moor keys`: API keys for the servers of `moorage.access`. A key is shown when it is made, and never again."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from moorage.cli import names
from moorage.cli.errors import UserError

if TYPE_CHECKING:
    from moorage.access.keys import StoredKey
    from moorage.cli.key_place import KeyFile, KeysInRedis

keys = typer.Typer(
    help="API keys: create, list, rotate, revoke, prune, manifest.", no_args_is_help=True, rich_markup_mode=None
)

NewFile = Annotated[Path | None, typer.Option("--file", help="A JSON file of keys; it is made if it is not there.")]
File = Annotated[Path | None, typer.Option("--file", help="A JSON file of keys, as `moor keys create` makes it.")]
RedisUrlFile = Annotated[Path | None, typer.Option(help="A file with the URL of the Redis that holds keys.")]
Output = Annotated[Literal["text", "json"], typer.Option(help="For people or for programs.")]
KeyId = Annotated[str, typer.Argument(help="The id, which `moor keys list` shows.", show_default=False)]

_EXPECTED = {
    "id": "the id: expected at most 32 lower-case letters, digits and '-', not '-' first",
    "models": "--model: expected at most 100 names of at most 63 letters, digits, '.', '_' and '-', with '*' and '?' for others",
    "tenant": "--tenant: expected at most 63 letters, digits, '.', '_' and '-'",
}
_UNITS = {"m": 60, "h": 3600, "d": 86400}


@keys.command()
def create(
    key_id: Annotated[
        str | None,
        typer.Argument(help="What lists, logs and limits call the key; made up if not given.", show_default=False),
    ] = None,
    file: NewFile = None,
    redis_url_file: RedisUrlFile = None,
    role: Annotated[
        Literal["read", "read-write", "admin"],
        typer.Option(help="read sees metadata, read-write also predicts, admin also loads and unloads models."),
    ] = "read-write",
    model: Annotated[
        list[str] | None, typer.Option(help="A model that may be asked; * and ? stand for others. Repeatable.")
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="The key's own rate limit: '100/minute operation=predict'. Repeatable.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Keys of one tenant share its limits.")] = None,
    expires: Annotated[str | None, typer.Option(help="How long it is good, as 90d or 12h; or a date and time.")] = None,
    output: Output = "text",
) -> None:
    """Make a key. Standard output gets it, this once."""
    from pydantic import ValidationError

    from moorage.access.keys import StoredKey, hashed, new_id, new_secret, presented

    secret = new_secret()
    given = {
        "id": key_id or new_id(),
        "hash": hashed(secret),
        "role": role,
        "models": model or None,
        "limits": [_limit(each) for each in limit or ()],
        "tenant": tenant,
        "created": _now(),
        "expires": _end(expires),
    }
    try:
        made = StoredKey.model_validate(given)
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        raise UserError(_EXPECTED.get(field) or f"{field}: {error.errors()[0]['msg']}") from None

    def add(there: "dict[str, StoredKey]") -> None:
        if made.id in there:
            raise UserError(f"{made.id}: there is such a key already: rotate it, or take another id")
        there[made.id] = made

    _place(file, redis_url_file, new=True).write(add)
    _show(made, presented(made.id, secret), output, f"key {made.id}, role {made.role}")


@keys.command("list")
def list_keys(file: File = None, redis_url_file: RedisUrlFile = None, output: Output = "text") -> None:
    """Show all keys, but not what is secret of them."""
    now = _now()
    found = sorted(_place(file, redis_url_file).read(), key=lambda key: key.id)
    if output == "json":
        typer.echo(json.dumps([_public(key, now) for key in found], indent=1))
        return
    rows = [("ID", "ROLE", "MODELS", "TENANT", "STATE", "EXPIRES")]
    for key in found:
        models = "*" if key.models is None else ",".join(key.models)
        end = key.expires.strftime("%Y-%m-%d %H:%M") if key.expires else "never"
        rows.append((key.id, key.role, models, key.tenant or "-", key.state(now), end))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@keys.command()
def rotate(
    key_id: KeyId,
    file: File = None,
    redis_url_file: RedisUrlFile = None,
    overlap: Annotated[str, typer.Option(help="How long the former secret is still good: 24h, 7d, or 0.")] = "24h",
    output: Output = "text",
) -> None:
    """Give a key a new secret. Its id, role, models, tenant and counts stay."""
    from moorage.access.keys import Former, hashed, new_secret, presented

    secret, now, still = new_secret(), _now(), _duration("--overlap", overlap)

    def change(there: "dict[str, StoredKey]") -> "StoredKey":
        key = _of(there, key_id)
        if (state := key.state(now)) != "active":
            raise UserError(f"{key_id}: the key is {state}: create another")
        former = Former(hash=key.hash, until=now + still) if still else None
        there[key_id] = key.model_copy(update={"hash": hashed(secret), "former": former})
        return there[key_id]

    changed = _place(file, redis_url_file).write(change)
    until = (
        f"the former secret is good until {changed.former.until:%Y-%m-%d %H:%M} UTC"
        if changed.former
        else "the former secret is bad now"
    )
    _show(changed, presented(key_id, secret), output, f"key {key_id}; {until}")


@keys.command()
def revoke(key_id: KeyId, file: File = None, redis_url_file: RedisUrlFile = None, output: Output = "text") -> None:
    """End a key now. It stays in the list until it is pruned."""
    now = _now()

    def change(there: "dict[str, StoredKey]") -> "StoredKey":
        key = _of(there, key_id)
        if not key.revoked:
            there[key_id] = key.model_copy(update={"revoked": now, "former": None})
        return there[key_id]

    changed = _place(file, redis_url_file).write(change)
    typer.echo(json.dumps(_public(changed, now)) if output == "json" else f"key {key_id} is revoked")


@keys.command()
def prune(file: File = None, redis_url_file: RedisUrlFile = None, output: Output = "text") -> None:
    """Take keys that have expired or are revoked out of the list. Their ids may be given anew."""
    now = _now()

    def change(there: "dict[str, StoredKey]") -> list[str]:
        ended = sorted(key.id for key in there.values() if key.state(now) != "active")
        for key_id in ended:
            del there[key_id]
        return ended

    removed = _place(file, redis_url_file).write(change)
    typer.echo(json.dumps(removed) if output == "json" else f"keys removed: {', '.join(removed) or 'none'}")


@keys.command()
def manifest(
    name: Annotated[str, typer.Argument(help="Name of the Secret: spec.access.apiKeys.secret.", show_default=False)],
    file: File = None,
    redis_url_file: RedisUrlFile = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace of the Secret.")] = None,
    to: Annotated[Path | None, typer.Option(help="A file for it; standard output if not given.")] = None,
) -> None:
    """Print the keys as a Secret for kubectl apply. It holds hashes, no key."""
    from moorage.access.stores import write_private
    from moorage.api.access import KEYS_FILE
    from moorage.cli.yamltext import to_yaml

    names.object_name("NAME", name)
    names.namespace("--namespace", namespace)
    documents = [key.document() for key in _place(file, redis_url_file).read()]
    if not documents:
        raise UserError("expected keys, found none: a Secret without any would lock every caller out")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "type": "Opaque",
        "stringData": {KEYS_FILE: json.dumps(documents, indent=1) + "\n"},
    }
    if to is None:
        typer.echo(to_yaml([secret]), nl=False)
        return
    try:
        write_private(to, to_yaml([secret]))
    except OSError as error:
        raise UserError(f"--to: {to}: cannot be written: {error.strerror}") from error


def _place(file: Path | None, redis_url_file: Path | None, *, new: bool = False) -> "KeyFile | KeysInRedis":
    from moorage.cli.key_place import REDIS_VARIABLE, place

    if file is not None and not new and not file.exists():
        raise UserError(f"--file: {file}: expected a file of keys, found none: moor keys create makes it")
    return place(file, redis_url_file, os.environ.get(REDIS_VARIABLE))


def _of(there: "dict[str, StoredKey]", key_id: str) -> "StoredKey":
    if key_id not in there:
        raise UserError(f"{key_id}: expected the id of a key that is there: moor keys list")
    return there[key_id]


def _show(key: "StoredKey", presented: str, output: str, said: str) -> None:
    """The key alone goes to standard output, so that a script can take it; what people read goes beside it."""
    if output == "json":
        typer.echo(json.dumps({**_public(key, _now()), "key": presented}))
        return
    typer.echo(f"{said}; keep what follows, it is not shown again:", err=True)
    typer.echo(presented)


def _public(key: "StoredKey", now: datetime) -> dict[str, Any]:
    """The document without hashes."""
    told = {name: value for name, value in key.document().items() if name not in ("hash", "former")}
    rotation = {"former_until": key.document()["former"]["until"]} if key.former else {}
    return {**told, **rotation, "state": key.state(now)}


def _limit(text: str) -> dict[str, Any]:
    from moorage.api.rate_limits import RateRule

    try:
        rule = RateRule.parse(text)
    except ValueError as error:
        raise UserError(f"--limit: {error}") from error
    if rule.by != "caller" or rule.model is not None:
        raise UserError(f"--limit: expected a rate and operation= for a key, which is who is counted, got {text!r}")
    return {"requests": rule.requests, "per": rule.per, "operation": rule.operation}


def _end(text: str | None) -> datetime | None:
    if text is None:
        return None
    if text[-1:] in _UNITS and text[:-1].isdigit():
        return _now() + _duration("--expires", text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"--expires: expected 90d, 12h or a date such as 2030-12-31T12:00Z, got {text!r}") from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment <= _now():
        raise UserError(f"--expires: expected a time to come, got {text!r}")
    return moment


def _duration(option: str, text: str) -> timedelta:
    if text == "0":
        return timedelta()
    number = text[:-1]
    if text[-1:] not in _UNITS or not number.isdecimal() or not number.isascii() or len(number) > 5:
        raise UserError(f"{option}: expected a number up to 99999 with m, h or d, for instance 24h, got {text!r}")
    return timedelta(seconds=int(number) * _UNITS[text[-1]])


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
