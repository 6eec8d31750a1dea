"""The front door: what becomes of bytes before they are a request, and of who sends none."""
