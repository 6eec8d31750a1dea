"""Everlog with the Memoid SDK (pip install memoid): only the address is another.

EVERLOG_URL and EVERLOG_KEY say where Everlog is and what opens it.
"""

import os

from memoid import MemoryClient

URL = os.environ.get("EVERLOG_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("EVERLOG_KEY", "my-first-key")
USER = os.environ.get("EVERLOG_USER", "example-memoid")

with MemoryClient(KEY, base_url=URL) as client:
    for said in ("I love hiking", "I work at a startup", "I now work at Google"):
        client.add([{"role": "user", "content": said}], user_id=USER)
        print(f"said:  {said}")

    memories = client.get_all(user_id=USER)
    for memory in memories:
        print(f"knows: {memory.memory}")

    best = client.search("Who is the employer?", user_id=USER, limit=1)[0]
    print(f"found: {best.memory} ({best.score:.2f})")

    for change in client.history(best.id):
        print(f"was:   {change.event} {change.new_memory}")

    client.delete_all(user_id=USER)
    print(f"left:  {len(client.get_all(user_id=USER))}")
