"""What the SDK does, written once for threads and for asyncio.

Nothing here opens a connection, sleeps or knows which of the two it serves.
Each operation is a generator that yields effects (send this, read a line, pause)
and is sent their outcome; arl.client carries them out. Read effects.py first,
then call.py, which sends one request until it is answered, and watch.py, which
follows objects as they change. sandbox.py, task.py and pool.py are made of them.
"""
