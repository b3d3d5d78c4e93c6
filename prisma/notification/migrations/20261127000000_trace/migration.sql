-- The trace that a notification was accepted in (W3C traceparent), while tracing is on: its later steps belong to it.
ALTER TABLE content ADD COLUMN trace TEXT;
