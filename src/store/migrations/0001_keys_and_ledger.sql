-- Callers' keys. `version` is that of `key_versions` at the key's last change: whoever asks for what is newer than what it knows
-- gets every change. Times are microseconds since the Unix epoch; a limit of 0 is none.
CREATE TABLE api_keys (
  id TEXT PRIMARY KEY,
  version BIGINT NOT NULL,
  name TEXT NOT NULL,
  prefix TEXT NOT NULL,
  digest TEXT NOT NULL,
  old_digest TEXT,
  old_until BIGINT,
  models TEXT NOT NULL,
  rpm BIGINT NOT NULL,
  tpm BIGINT NOT NULL,
  concurrency BIGINT NOT NULL,
  budget BIGINT NOT NULL,
  budget_window TEXT NOT NULL,
  budget_unpriced BIGINT NOT NULL,
  expires BIGINT,
  revoked BIGINT,
  created BIGINT NOT NULL
);
CREATE INDEX api_keys_by_version ON api_keys (version);

-- One row. Raised within each transaction that changes a key, so that versions are committed in their order.
CREATE TABLE key_versions (
  version BIGINT NOT NULL
);
INSERT INTO key_versions (version) VALUES (0);

-- One row per request. Ids begin with the time, so this order is that of times and needs no other index.
CREATE TABLE requests (
  id TEXT PRIMARY KEY,
  request_id TEXT,
  time BIGINT NOT NULL,
  key_id TEXT,
  key_name TEXT,
  model TEXT NOT NULL,
  provider TEXT,
  upstream_model TEXT,
  provider_key TEXT,
  status BIGINT NOT NULL,
  error TEXT,
  stream BIGINT NOT NULL,
  tokens_in BIGINT NOT NULL,
  tokens_out BIGINT NOT NULL,
  tokens_cached BIGINT NOT NULL,
  tokens_cache_written BIGINT NOT NULL,
  tokens_reasoning BIGINT NOT NULL,
  cost BIGINT,
  state TEXT,
  source TEXT,
  latency_us BIGINT NOT NULL,
  first_token_us BIGINT,
  attempts BIGINT NOT NULL,
  cache TEXT,
  tags TEXT,
  recovered BIGINT NOT NULL
) /* sqlite: WITHOUT ROWID */;

CREATE TABLE attempts (
  request TEXT NOT NULL,
  place BIGINT NOT NULL,
  provider TEXT NOT NULL,
  key_name TEXT,
  model TEXT NOT NULL,
  start_us BIGINT NOT NULL,
  outcome TEXT NOT NULL,
  kind TEXT,
  status BIGINT,
  head_us BIGINT,
  first_token_us BIGINT,
  total_us BIGINT NOT NULL,
  breaker TEXT NOT NULL,
  hedge BIGINT NOT NULL,
  PRIMARY KEY (request, place)
) /* sqlite: WITHOUT ROWID */;

CREATE TABLE transitions (
  id TEXT PRIMARY KEY,
  time BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  from_state TEXT NOT NULL,
  to_state TEXT NOT NULL,
  reason TEXT NOT NULL,
  period_us BIGINT,
  settings TEXT NOT NULL
) /* sqlite: WITHOUT ROWID */;

-- Sums of `requests`, written with them. `hour` counts from the Unix epoch; '' is nobody.
CREATE TABLE usage_hours (
  hour BIGINT NOT NULL,
  key_id TEXT NOT NULL,
  model TEXT NOT NULL,
  provider TEXT NOT NULL,
  key_name TEXT NOT NULL,
  requests BIGINT NOT NULL,
  errors BIGINT NOT NULL,
  tokens_in BIGINT NOT NULL,
  tokens_out BIGINT NOT NULL,
  tokens_cached BIGINT NOT NULL,
  tokens_reasoning BIGINT NOT NULL,
  cost BIGINT NOT NULL,
  unpriced BIGINT NOT NULL,
  PRIMARY KEY (hour, key_id, model, provider, key_name)
) /* sqlite: WITHOUT ROWID */;

CREATE TABLE usage_tags (
  hour BIGINT NOT NULL,
  tag TEXT NOT NULL,
  requests BIGINT NOT NULL,
  errors BIGINT NOT NULL,
  tokens_in BIGINT NOT NULL,
  tokens_out BIGINT NOT NULL,
  tokens_cached BIGINT NOT NULL,
  tokens_reasoning BIGINT NOT NULL,
  cost BIGINT NOT NULL,
  unpriced BIGINT NOT NULL,
  PRIMARY KEY (hour, tag)
) /* sqlite: WITHOUT ROWID */;
