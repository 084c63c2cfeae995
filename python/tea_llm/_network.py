"""What an HTTP client takes from the environment, and what is said when that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from tea_llm._shown import without_secrets

__all__ = ["network_settings"]


@contextmanager
def network_settings(problem: Callable[[str], Exception]) -> Iterator[None]:
    """For the block that makes a client of httpx: foreign errors become what ``problem`` makes of a message."""
    try:
        yield
    except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
        # `from None`: a proxy's URL may hold a password
        raise problem(
            f"the network settings of this environment cannot be used: {without_secrets(error)}. They are HTTPS_PROXY, "
            "HTTP_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"
        ) from None
