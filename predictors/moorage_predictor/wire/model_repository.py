"""The models of `--model-repository`: which are there, and when one is loaded. Made by `server.py`.

    scan() ── new, settled ──> Served, not in memory ── a request, --preload ──> Residence.load
       │                          └── another version answers ──> loaded beside it, then the newest
       ├── changed ─────────────> loaded again, or tried again
       └── gone twice ──────────> removed, once its requests are through

Of a folder that is still being copied the look differs from poll to poll; it counts once two looks are alike. A caller
who loads by hand says that it is there.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from moorage.api.predictor import MODEL_NAME_PATTERN, PredictorSettings
from moorage_predictor.errors import (
    InvalidInput,
    LoadFailed,
    ModelLoadFailed,
    ModelUnavailable,
    RequestError,
    without_paths,
)
from moorage_predictor.metrics import Metrics
from moorage_predictor.storage import checksums
from moorage_predictor.storage.versions import Found, VersionFolder, scan
from moorage_predictor.wire.on_demand import OnDemand
from moorage_predictor.wire.repository import Repository
from moorage_predictor.wire.residence import Residence
from moorage_predictor.wire.served import Served
from moorage_predictor.wire.versions import Versions

_log = logging.getLogger(__name__)

_ALL: Final = "all"
_NAME: Final = re.compile(MODEL_NAME_PATTERN)
_Key = tuple[str, str]


class ModelRepository(Repository):
    """Of one process. Everything but loading happens on the event loop."""

    def __init__(
        self,
        settings: PredictorSettings,
        metrics: Metrics,
        options: Mapping[str, Any],
        load: Callable[[PredictorSettings], Any],
    ) -> None:
        """`options` are what every `Served` is made with; `load` gives the model of such settings, in a thread.

        Raises:
            LoadFailed: the folder is not there, or a model to preload is not, or they are more than `--max-models`.
        """
        super().__init__([])
        self._settings = settings
        self._root = Path(settings.model_repository or "")
        self._metrics = metrics
        self._options = options
        self._load = load
        self._there: dict[_Key, OnDemand] = {}
        self._unsettled: dict[_Key, VersionFolder | None] = {}
        """What the last look found different; None where it found nothing any more."""
        self._left_out: dict[str, str] = {}
        self._unloaded: set[str] = set()
        """Names that a caller has unloaded, and with them the versions that come later."""
        self._leaving: set[asyncio.Task[None]] = set()
        self._residence = Residence(self._there.values, self._stays, settings.max_models, settings.max_models_bytes)
        self._take(scan(self._root), at_once=True)
        self._check_preload()

    def _check_preload(self) -> None:
        preload = self._settings.preload
        if unknown := [name for name in preload if name != _ALL and name not in self.names()]:
            raise LoadFailed(f"--preload={unknown[0]}", f"no such model in {self._root}")
        count = sum(map(self._preloaded, self.names()))
        if count > self._settings.max_models:
            raise LoadFailed("--preload", f"expected at most {self._settings.max_models} (--max-models), found {count}")

    def _preloaded(self, name: str) -> bool:
        return _ALL in self._settings.preload or name in self._settings.preload

    def _stays(self, served: Served) -> bool:
        return self._preloaded(served.name) and self.find(served.name) is served

    def needed(self) -> list[Served]:
        """Those that are to be preloaded."""
        return [served for served in super().needed() if self._preloaded(served.name)]

    async def preload(self) -> None:
        """Load what must be there before the process is ready. What cannot be loaded is in the log."""
        for name in filter(self._preloaded, self.names()):
            try:
                await self.versions(name).wake(None)
            except RequestError as error:
                _log.error("not preloaded", extra={"model": name, "reason": str(error)})

    async def load(self, name: str) -> None:
        """Look again, and load the newest version of this model, or load it anew.

        Raises:
            InvalidInput: it cannot be loaded. What was served before is still served.
            NotFound: there is no such model.
            Overloaded: everything in memory is in use.
        """
        if self.draining:
            raise ModelUnavailable("the server is stopping")
        if _NAME.fullmatch(name):
            self._take(await asyncio.to_thread(scan, self._root, name), at_once=True, only=name)
        versions = self.versions(name)
        ours = self._ours(versions)
        self._unloaded.discard(name)
        for one in ours:
            one.allow()
        try:
            await asyncio.shield(asyncio.ensure_future(self._bring_in(versions, ours[-1])))
        except ModelLoadFailed as error:
            raise InvalidInput(str(error)) from error

    async def unload(self, name: str) -> None:
        """All versions of it, and those that come; they are not loaded until `load`."""
        versions = self.versions(name)
        self._unloaded.add(name)
        await asyncio.gather(*[served.unload() for served in versions])

    async def poll(self) -> None:
        """Look through the folder every so often, until cancelled."""
        every = self._settings.repository_poll_s
        while every:
            await asyncio.sleep(every)
            try:
                await self.look()
            except LoadFailed as error:  # a file system that comes and goes: nothing is taken away for that
                _log.warning("the model repository was not looked through", extra={"reason": str(error)})
            except Exception:  # noqa: BLE001 - one bad look must not be the last
                _log.exception("the model repository was not looked through")

    async def look(self) -> None:
        """Once: take in what has settled, and load what is newer than what answers."""
        self._take(await asyncio.to_thread(scan, self._root))
        for versions in list(self.models()):
            await self._catch_up(versions)

    async def _catch_up(self, versions: Versions) -> None:
        ours = self._ours(versions)
        stale = [one for one in ours if one.stale and one.pipeline is not None]
        latest = ours[-1]
        answers = versions.newest.pipeline is not None or self._preloaded(versions.name)
        if answers and latest.pipeline is None and latest.wanted and (latest.failure is None or latest.stale):
            stale.append(latest)
        for served in stale:
            try:
                await self._bring_in(versions, served)
            except RequestError as error:
                _log.warning(
                    "not loaded", extra={"model": served.name, "version": served.version, "reason": str(error)}
                )

    async def _bring_in(self, versions: Versions, served: OnDemand) -> None:
        if served.pipeline is not None:
            await served.load_now()
        else:
            old = self._there.get((versions.name, versions.newest.version))
            await self._residence.load(served, old if old and old is not served and old.pipeline else None)

    def _ours(self, versions: Versions) -> list[OnDemand]:
        return [self._there[versions.name, one.version] for one in versions]

    def _take(self, found: Found, *, at_once: bool = False, only: str | None = None) -> None:
        """Bring what is served in line with what was found."""
        for path, reason in found.left_out.items():
            if self._left_out.get(path) != reason:
                _log.warning("left out of the model repository", extra={"path": path, "reason": reason})
        self._left_out = dict(found.left_out) if only is None else {**self._left_out, **found.left_out}
        there = {
            (name, version): folder for name, versions in found.versions.items() for version, folder in versions.items()
        }
        known = {key for key in self._there if only is None or key[0] == only}
        last, self._unsettled = self._unsettled, {}
        for key in sorted(known | set(there)):
            folder, before = there.get(key), self._there.get(key)
            if _look(folder) == _look(before.folder if before else None):
                continue
            if not at_once and (key not in last or _look(last[key]) != _look(folder)):
                self._unsettled[key] = folder
            elif folder is None:
                self._leave(key)
            else:
                self._arrive(key, folder)

    def _arrive(self, key: _Key, folder: VersionFolder) -> None:
        if before := self._there.get(key):
            before.folder, before.stale = folder, True
            if before.failure and before.wanted:
                before.allow()
            return
        name, version = key
        self._there[key] = served = OnDemand(
            name,
            version,
            folder,
            load=self._model_of,
            load_in_turn=self._residence.load,
            changed=self._choose,
            metrics=self._metrics.of(name, version),
            **self._options,
        )
        if name in self._unloaded:
            served.forbid()
        self.add(served)
        _log.info("found", extra={"model": name, "version": version, "bytes": folder.size_bytes})

    def _leave(self, key: _Key) -> None:
        served = self._there.pop(key)
        self.remove(served)
        _log.info("gone", extra={"model": served.name, "version": served.version})
        task = asyncio.ensure_future(self._let_go(served))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _let_go(self, served: OnDemand) -> None:
        await served.retire()
        if (served.name, served.version) not in self._there:
            self._metrics.forget(served.name, served.version)

    def _choose(self, served: Served) -> None:
        if self._there.get((served.name, served.version)) is served:
            self.versions(served.name).choose()

    def _model_of(self, served: OnDemand) -> Any:
        """In a thread."""
        name, version, folder = served.name, served.version, served.folder
        most = self._settings.max_models_bytes
        changes = {"model_name": name, "model_version": version, "model_dir": str(folder.path)}
        own = self._settings.model_copy(update={**changes, "model_repository": None, "preload": ()})
        try:
            if most is not None and folder.size_bytes > most:
                raise LoadFailed(
                    folder.path, f"expected at most {most} bytes (--max-models-bytes), found {folder.size_bytes}"
                )
            again = scan(self._root, name)
            if version not in again.versions.get(name, {}):
                raise LoadFailed(folder.path, again.left_out.get(f"{name}/{version}", "the folder is gone"))
            checksums.check(folder.path)
            return self._load(own)
        except LoadFailed as error:
            if self._settings.built_in:  # of a class of the user's the text may say anything
                error.told = without_paths(error.reason)
            raise


def _look(folder: VersionFolder | None) -> object:
    return folder and folder.look
