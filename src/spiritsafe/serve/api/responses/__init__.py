"""``/v1/responses``: what may be asked, its items as a conversation, and answers whole and in events."""

from spiritsafe.serve.api.responses.interface import INTERFACE as INTERFACE
