"""``/v1/messages``: what may be asked, its turns as a conversation, and answers whole and in events."""

from spiritsafe.serve.api.messages.interface import INTERFACE as INTERFACE
