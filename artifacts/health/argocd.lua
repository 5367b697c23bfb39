-- Health of the kinds of arl.io for Argo CD: one script for WarmPool, Sandbox and Task.
local metadata, status = obj.metadata, obj.status or {}
if metadata.deletionTimestamp ~= nil then
  return {status = "Progressing", message = "is being deleted"}
end
if status.observedGeneration ~= metadata.generation then
  return {status = "Progressing", message = "the server has not looked at the latest spec yet"}
end
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Stalled" and condition.status == "True" then
    return {status = "Degraded", message = condition.reason .. ": " .. condition.message}
  end
end
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Reconciling" and condition.status == "True" then
    return {status = "Progressing", message = condition.reason .. ": " .. condition.message}
  end
end
return {status = "Healthy", message = status.message or ""}
