"""Sending requests: blocking.py over urllib3, for threads, aio.py over aiohttp.

Both take the requests of arl._core.effects and raise its exceptions. Both make
their connections anew when the process was forked, and when the kubeconfig has
changed by the time a request fails.
"""
