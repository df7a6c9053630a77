-- Builds one fixed request from the arguments and prints the outcome as one line of JSON.
-- Arguments: METHOD BODY_BYTES [NAME VALUE]...
-- There is no request() function on purpose: wrk then sends the ready bytes without entering Lua.

function init(args)
   wrk.method = args[1]
   local bytes = tonumber(args[2])
   if bytes > 0 then
      wrk.body = string.rep("b", bytes)
      wrk.headers["Content-Type"] = "application/octet-stream"
   end
   for i = 3, #args, 2 do
      wrk.headers[args[i]] = args[i + 1]
   end
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      'RESULT {"requests": %d, "duration_us": %d, "bytes": %d, "p50_us": %d, "p99_us": %d, "p999_us": %d, "max_us": %d, '
      .. '"errors": {"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}}\n',
      summary.requests, summary.duration, summary.bytes,
      latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max,
      errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
