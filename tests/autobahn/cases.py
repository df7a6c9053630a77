"""Runs Autobahn's cases against a server: `cases.py URL [CASE...]`, without cases all of them. Prints the verdicts as JSON."""

import asyncio
import json
import os
import sys

from kosoku import FailureError, run_fuzzingclient

AT_ONCE = 4


async def main(url, cases):
    """The verdict of each case: of its messages, of its close, and whether both are acceptable."""
    try:
        results = await run_fuzzingclient(url, cases or None, concurrency=AT_ONCE)
    except FailureError as failure:
        results = failure.results
    return {
        result.case_id: {
            "passed": result.passed,
            "said": f"{result.behavior.value}, {result.behavior_close.value}: {result.result} {result.result_close}",
        }
        for result in results
    }


json.dump(asyncio.run(main(sys.argv[1], sys.argv[2:])), sys.stdout)
sys.stdout.flush()
# Threads of the library's runtime still run here; where one of them needs the interpreter while it is taken down, the
# process aborts (in every tenth run, verdicts and all). So nothing is taken down.
os._exit(0)
