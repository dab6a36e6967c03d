"""Where the controller's time goes, asked of it while it runs: `moor controller --profiling`. Routes of health.py.

    GET /debug/profile?seconds=10   the functions of the event loop that took most time, as cProfile counts them
    GET /debug/tasks                what every task is waiting for

Counting makes Python code about twice as slow while it lasts, and nothing before and after.
"""

import asyncio
import cProfile
import io
import pstats

from aiohttp import web

MAX_S, LINES = 60.0, 60


def routes() -> list[web.RouteDef]:
    """Both of them."""
    busy = asyncio.Lock()

    async def profile(request: web.Request) -> web.Response:
        text = request.query.get("seconds", "10")
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= MAX_S:
            return web.Response(
                status=400, text=f"seconds: expected a number above 0, at most {MAX_S:g}, got {text[:40]!r}\n"
            )
        if busy.locked():
            return web.Response(status=409, text="another profile is being taken: wait for its end\n")
        async with busy:
            profiler = cProfile.Profile()
            profiler.enable()
            try:
                await asyncio.sleep(seconds)
            finally:
                profiler.disable()
        out = io.StringIO()
        pstats.Stats(profiler, stream=out).sort_stats("tottime").print_stats(LINES)
        return web.Response(text=out.getvalue())

    async def tasks(_: web.Request) -> web.Response:
        out = io.StringIO()
        for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name()):
            task.print_stack(file=out)
        return web.Response(text=out.getvalue())

    return [web.get("/debug/profile", profile), web.get("/debug/tasks", tasks)]
