"""The tabular model as a model: a request -> a table -> batches of rows -> an answer, for every protocol. Made by `adapt.py`.

table of a request ── predict ──> queue ── rows of many requests ──> TabularModel.predict, in one thread
                   └─ explain ──> one request at a time ───────────> TabularModel.explain, in another
"""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, Final

from moorage.api.predictor import PredictorSettings
from moorage_predictor.batching import Batcher
from moorage_predictor.batching.queue import Run
from moorage_predictor.errors import InvalidInput, Overloaded
from moorage_predictor.tasks.tabular import Explained, Prediction, TabularModel
from moorage_predictor.tasks.tabular.table import Table, sample
from moorage_predictor.wire import tabular_v1, tabular_v2
from moorage_predictor.wire.batching_model import BatchingModel, limits_of
from moorage_predictor.wire.messages import InferRequest, InferResponse
from moorage_predictor.wire.urgency import urgency

MAX_BATCH_SIZE: Final = 64
"""Rows of a batch, if nobody says how many."""
_PARSED_HERE: Final = 2000
"""Values; a larger table is checked in a thread."""
_EXPLAINED_TOGETHER: Final = 8
"""Rows, so that who asks for many keeps nobody waiting for long, and is not worked for when he has gone."""


class TableModel(BatchingModel):
    """One loaded model."""

    def __init__(self, model: TabularModel, settings: PredictorSettings) -> None:
        self._model = model
        self._settings = settings
        # What may wait is counted here, in requests: one may have thousands of rows.
        limits = replace(limits_of(settings, MAX_BATCH_SIZE), max_queue_size=sys.maxsize)
        predicts, self._explains = ThreadPoolExecutor(1, "predict"), ThreadPoolExecutor(1, "explain")
        self._predicting = self._explaining = 0
        super().__init__(settings, Batcher(_runs(model, predicts), limits), partial(_end, predicts, self._explains))

    @property
    def runs_on(self) -> tuple[str, str]:
        """The kind of file it came from, and the number format of its answers."""
        return self._model.format, "fp64"

    def parameters(self) -> dict[str, Any]:
        """What it is, for the model's config; with a row to ask it for, which `moor up` does: no row of anybody's data."""
        row = json.dumps(tabular_v1.row_of(sample(self._model.schema)))
        return {**self._model.describe(), "max_batch_size": self._batcher.max_batch_size, "sample": row}

    def labels(self, output: str) -> tuple[str, ...] | None:
        """Names of the classes, in the order of `probabilities`."""
        return self._model.classes if output == "probabilities" else None

    def get_input_types(self) -> list[dict[str, Any]]:
        """The columns by name; of a model whose features have none, one input of rows."""
        return tabular_v2.input_types(self._model.schema)

    def get_output_types(self) -> list[dict[str, Any]]:
        """Every output, those of an explanation too, which are given only when asked for."""
        return tabular_v2.output_types(self._model)

    async def predict(self, payload: Any, headers: dict[str, str] | None = None) -> dict[str, Any] | InferResponse:
        """Answer one request: of V1 a dictionary, of V2 REST and gRPC an InferRequest.

        Raises:
            RequestError: see `errors.py`.
        """
        model, settings = self._model, self._settings
        if isinstance(payload, InferRequest):
            asked = tabular_v2.asked(payload, model, settings.top_k)
            table = await self._table(
                lambda: tabular_v2.table_of(payload, model.schema, self._most(asked.explained)),
                tabular_v2.size_of(payload, model.schema),
            )
            if asked.explained:
                return tabular_v2.response(payload, asked, table, await self._explain(table))
            priority = urgency(headers or {}, payload.parameters).priority
            return tabular_v2.response(payload, asked, table, await self._predict(table, priority))
        table = await self._table_of_v1(payload, explained=False)
        return tabular_v1.predictions(await self._predict(table, urgency(headers or {}).priority), model)

    async def explain(self, payload: Any, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """V1's `:explain`.

        Raises:
            RequestError: see `errors.py`.
        """
        top = tabular_v1.top_of(payload, self._settings.top_k)
        table = await self._table_of_v1(payload, explained=True)
        return tabular_v1.explanations(await self._explain(table), table, self._model, top)

    async def _table_of_v1(self, payload: Any, *, explained: bool) -> Table:
        if not isinstance(payload, dict):
            raise InvalidInput("the body: expected a JSON object")
        return await self._table(
            lambda: tabular_v1.table_of(payload, self._model.schema, self._most(explained)),
            tabular_v1.size_of(payload, self._model.schema),
        )

    def _most(self, explained: bool) -> int:
        return self._settings.max_explained_rows if explained else self._settings.max_rows

    async def _table(self, make: Callable[[], Table], values: int) -> Table:
        return make() if values <= _PARSED_HERE else await asyncio.to_thread(make)

    async def _predict(self, table: Table, priority: int) -> Prediction:
        if self._predicting >= self._settings.max_queue_size:
            raise self._batcher.refusal()
        self._predicting += 1
        try:
            found: Prediction = await self._batcher.submit(table, len(table), priority=priority)
            return found
        finally:
            self._predicting -= 1

    async def _explain(self, table: Table) -> Explained:
        """Never in company: one explanation takes as long as thousands of predictions."""
        if self._explaining and self._explaining + len(table) > self._settings.max_queue_size:
            raise Overloaded(f"{self._explaining} rows wait for their explanation; try again")
        self._explaining += len(table)
        try:
            parts = []
            for start in range(0, len(table), _EXPLAINED_TOGETHER):
                rows = table.rows(slice(start, start + _EXPLAINED_TOGETHER))
                parts.append(
                    await asyncio.get_running_loop().run_in_executor(self._explains, self._model.explain, rows)
                )
            return Explained.joined(parts)
        finally:
            self._explaining -= len(table)


def _end(*pools: ThreadPoolExecutor) -> None:
    for pool in pools:
        pool.shutdown(wait=False)


def _runs(model: TabularModel, pool: ThreadPoolExecutor) -> Run[Table]:
    """What works on one batch."""

    def work(tables: Sequence[Table]) -> list[Prediction]:
        return model.predict(Table.joined(tables)).parted([len(table) for table in tables])

    async def run(payloads: Sequence[Table], *, alone: bool) -> Sequence[Any]:
        return await asyncio.get_running_loop().run_in_executor(pool, work, payloads)

    return run
