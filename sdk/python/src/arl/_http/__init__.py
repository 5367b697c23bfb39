"""Sending requests: blocking.py over urllib3, for threads, aio.py over aiohttp.

Both take the requests of arl._core.effects and raise its exceptions. Both send
a request once more, with new credentials, when the server does not accept the
ones they have. Both make new connections in a forked process, and when the
kubeconfig has changed by the time a request fails. proxy.py decides about proxies.
"""

USER_AGENT = "arl-sandbox"
UNAUTHORIZED = 401
