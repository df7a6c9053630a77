"""A WebSocket server that sends every message back, with permessage-deflate: what Autobahn's cases expect of a peer.

It prints the port that it listens on, and ends with its standard input, so that it cannot outlive the test.
"""

import asyncio
import os
import sys

# Cases send messages in 65,536 fragments; the library bounds them far below. It reads this when it is imported.
os.environ["WEBSOCKETS_MAX_FRAGMENTS"] = "1000000"

from websockets.asyncio.server import serve  # noqa: E402
from websockets.exceptions import ConnectionClosed  # noqa: E402


async def echo(connection):
    """Sends back what comes, until either side closes."""
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass


async def main():
    """Serves until the standard input ends."""
    async with serve(echo, "127.0.0.1", 0, max_size=None, ping_interval=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        server.close(close_connections=True)


asyncio.run(main())
