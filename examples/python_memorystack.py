"""Everlog with the MemoryStack SDK (pip install memorystack): only the address is another.

EVERLOG_URL and EVERLOG_KEY say where Everlog is and what opens it.
"""

import os

from memorystack import MemoryStackClient

URL = os.environ.get("EVERLOG_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("EVERLOG_KEY", "my-first-key")
USER = os.environ.get("EVERLOG_USER", "example-memorystack")

client = MemoryStackClient(api_key=KEY, base_url=URL)

said = "I love TypeScript"
made = client.add([{"role": "user", "content": said}], user_id=USER)
print(f"said:  {said}")
print(f"made:  {made.memories_created}")

for memory in client.list_memories(user_id=USER).results:
    print(f"knows: {memory.content} ({memory.memory_type}, {memory.confidence})")

best = client.search("Which programming language?", user_id=USER, limit=1)["results"][0]
print(f"found: {best['content']}")

client.delete_memories(made.memory_ids)
print(f"left:  {client.list_memories(user_id=USER).count}")
