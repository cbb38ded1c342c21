"""The promises that every part of Game Night keeps: events, drawings, ports and settings. Nothing here connects."""
