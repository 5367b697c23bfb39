"""What the tests talk to: a real server, a registry with one image, and a server made of answers."""
