"""Everlog with mem0's client (pip install mem0ai): only the host is another.

EVERLOG_URL and EVERLOG_KEY say where Everlog is and what opens it.
"""

import os
import time

os.environ.setdefault("MEM0_TELEMETRY", "False")  # before the import, which reads it

from mem0 import MemoryClient

URL = os.environ.get("EVERLOG_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("EVERLOG_KEY", "my-first-key")
USER = os.environ.get("EVERLOG_USER", "example-mem0")
MINE = {"user_id": USER}

client = MemoryClient(api_key=KEY, host=f"{URL}/mem0")

said = "I am allergic to nuts"
client.add([{"role": "user", "content": said}], user_id=USER)
print(f"said:  {said}")

deadline = time.monotonic() + 30
while not (memories := client.get_all(filters=MINE)["results"]) and time.monotonic() < deadline:
    time.sleep(0.1)  # mem0 extracts after it has answered
for memory in memories:
    print(f"knows: {memory['memory']}")

found = client.search("What must the user not eat?", filters=MINE, top_k=1)["results"]
print(f"found: {found[0]['memory']}")

client.delete_all(user_id=USER)
print(f"left:  {len(client.get_all(filters=MINE)['results'])}")
