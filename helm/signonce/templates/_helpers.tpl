{{/*
The name of everything here, or the start of it. Short, since the longest that is made of it names a Service. A release
may be called what a Service may not (`val.a`, `1e3`): `signonce.validate` refuses that before anything is made.
*/}}
{{- define "signonce.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := printf "%s-%s" .Release.Name $name -}}
{{- if contains $name .Release.Name -}}{{- $full = .Release.Name -}}{{- end -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimAll "-" -}}
{{- end -}}

{{/* Whatever comes from outside is quoted, here and everywhere: a release called `n` or `1` would be no string otherwise. */}}
{{- define "signonce.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "signonce.labels" -}}
{{ include "signonce.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- define "signonce.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "signonce.peers" -}}{{ include "signonce.fullname" . }}-peers{{- end -}}
{{- define "signonce.domain" -}}{{ include "signonce.peers" . }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}{{- end -}}
{{- define "signonce.state" -}}{{ include "signonce.fullname" . }}-state{{- end -}}

{{/*
What the cluster is, fixed at the first install: id and number of first members. The state ConfigMap outlives upgrades
and uninstalls; whoever changes the values later is told so.
*/}}
{{- define "signonce.identity" -}}
{{- $state := lookup "v1" "ConfigMap" .Release.Namespace (include "signonce.state" .) | default dict -}}
{{- $kept := $state.data | default dict -}}
{{- $id := .Values.cluster.id -}}
{{- if $kept.cluster -}}
{{- if and $id (ne $id $kept.cluster) -}}
{{- fail (printf "cluster.id is %s, but this release's cluster is %s: a cluster keeps its id for ever. A second cluster takes another release." $id $kept.cluster) -}}
{{- end -}}
{{- $id = $kept.cluster -}}
{{- end -}}
{{- if not $id -}}
{{- /* Made once for all templates of this rendering. */ -}}
{{- if not (hasKey .Values.cluster "made") -}}{{- $_ := set .Values.cluster "made" (sha256sum (randAlphaNum 64) | trunc 32) -}}{{- end -}}
{{- $id = .Values.cluster.made -}}
{{- end -}}
{{- $lock := printf "signonce-cluster-%s" $id -}}
{{- $owner := get ((lookup "v1" "ConfigMap" .Release.Namespace $lock).data | default dict) "owner" -}}
{{- if and $owner (ne $owner (include "signonce.fullname" .)) -}}
{{- fail (printf "cluster id %s belongs to %s in this namespace (ConfigMap %s): two clusters under one id could both sign the same duty. Leave cluster.id empty for a cluster of its own." $id $owner $lock) -}}
{{- end -}}
{{- if eq .Values.cluster.lock "kubernetes" -}}
{{- $place := get ((lookup "rbac.authorization.k8s.io/v1" "ClusterRole" "" $lock).metadata | default dict | dig "annotations" dict) "signonce.io/owner" -}}
{{- if and $place (ne $place (printf "%s/%s" .Release.Namespace (include "signonce.fullname" .))) -}}
{{- fail (printf "cluster id %s belongs to %s (ClusterRole %s): two clusters under one id could both sign the same duty. Leave cluster.id empty for a cluster of its own." $id $place $lock) -}}
{{- end -}}
{{- end -}}
{{- $initial := int (default .Values.replicas .Values.cluster.initialMembers) -}}
{{- if $kept.initialMembers -}}
{{- if and .Values.cluster.initialMembers (ne (int .Values.cluster.initialMembers) (int $kept.initialMembers)) -}}
{{- fail (printf "cluster.initialMembers is %d, but the cluster formed from %s: that never changes; grow with `signonce members add`." (int .Values.cluster.initialMembers) $kept.initialMembers) -}}
{{- end -}}
{{- $initial = int $kept.initialMembers -}}
{{- end -}}
{{- dict "id" $id "initial" $initial "formed" (default "false" $kept.formed) | toYaml -}}
{{- end -}}

{{/* Ordinals with the id of the member at each, as the first members or as cluster.members says. */}}
{{- define "signonce.nodes" -}}
{{- $identity := .identity -}}
{{- $nodes := list -}}
{{- range $ordinal := until (int (max (int .root.Values.replicas) (int $identity.initial))) -}}
{{- $id := 0 -}}
{{- if lt $ordinal (int $identity.initial) -}}{{- $id = add1 $ordinal -}}{{- end -}}
{{- range $.root.Values.cluster.members -}}{{- if eq (int .ordinal) $ordinal -}}{{- $id = int64 .id -}}{{- end -}}{{- end -}}
{{- if $id -}}{{- $nodes = append $nodes (dict "ordinal" $ordinal "id" $id) -}}{{- end -}}
{{- end -}}
{{- dict "nodes" $nodes | toYaml -}}
{{- end -}}

{{/* The settings of a section of signonce.toml. JSON writes strings and lists as TOML does; its numbers may be floats. */}}
{{- define "signonce.settings" -}}
{{- $lines := list -}}
{{- range $setting, $value := . -}}
{{- $lines = append $lines (printf "%s = %s" $setting (kindIs "float64" $value | ternary (int64 $value) $value | toJson)) -}}
{{- end -}}
{{- join "\n" $lines -}}
{{- end -}}

{{- define "signonce.validate" -}}
{{- $name := include "signonce.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "the release %s would make Services called %s, and Kubernetes takes no such name for one: only lower-case letters, digits and `-`, with a letter first. Set fullnameOverride, or call the release something else." .Release.Name $name) -}}
{{- end -}}
{{- $replicas := int .Values.replicas -}}
{{- if and (eq .Values.mode "cluster") (or (lt $replicas 3) (eq (mod $replicas 2) 0)) -}}
{{- fail (printf "replicas is %d: a cluster takes an odd number of at least 3, since an even one survives no more than the odd one below it. For a look around with one signer set mode=trial." $replicas) -}}
{{- end -}}
{{- if and (eq .Values.mode "trial") (ne $replicas 1) -}}
{{- fail "mode=trial is for a single signer: set replicas=1, or mode=cluster" -}}
{{- end -}}
{{- /* preStop hands over in 5 s at most and waits 3 s; the signer hands over in 3 s, then drains, then writes what is left. */ -}}
{{- $drain := div (add (int (dig "limits" "drain_ms" 10000 .Values.config)) 999) 1000 -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) (int (add $drain 20)) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, and config.limits.drain_ms takes %d s of it: set it to %d at least, or stopping signers are killed in the middle of answers." (int .Values.terminationGracePeriodSeconds) $drain (add $drain 20)) -}}
{{- end -}}
{{- if not .Values.tls.mode -}}
{{- fail "tls.mode is not set, and nothing is made without certificates that you have chosen: certManager, for Certificates of an issuer of yours (tls.certManager.issuerRef); existing, for Secrets that you make yourself, called NAME-tls-ORDINAL; or trial, for a look around without real keys: a job makes an authority, whose private key stays in a Secret of this namespace" -}}
{{- end -}}
{{- if .Values.updateStrategy -}}
{{- fail "updateStrategy is gone: the StatefulSet's own rolling update restarts a signer while another is away, and then all signing stops. Pods are replaced by a job after each upgrade, one at a time and only while all others are ready. Leave it out; where --reuse-values brings it along, add --set updateStrategy=null" -}}
{{- end -}}
{{- if and (eq .Values.tls.mode "certManager") (not .Values.tls.certManager.issuerRef.name) -}}
{{- fail "tls.mode=certManager needs tls.certManager.issuerRef.name: an issuer whose authority is the signers' and the validators'" -}}
{{- end -}}
{{- end -}}

{{- define "signonce.unlockSecret" -}}
{{- default (printf "%s-unlock" (include "signonce.fullname" .)) .Values.unlock.existingSecret -}}
{{- end -}}

{{/*
The account of a job: made before it by the same hooks, and taken away when all of them have succeeded. One that failed
leaves its account to the next try, which replaces it.
*/}}
{{- define "signonce.jobAccount" -}}
{{- $name := printf "%s-%s" (include "signonce.fullname" .root) .job -}}
{{- $namespace := .root.Release.Namespace -}}
{{- $labels := include "signonce.labels" .root | fromYaml -}}
{{- $annotations := dict "helm.sh/hook" .hooks "helm.sh/hook-weight" "-10" "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded" -}}
{{- $metadata := dict "name" $name "labels" $labels "annotations" $annotations -}}
{{- $role := dict "apiGroup" "rbac.authorization.k8s.io" "kind" "Role" "name" $name -}}
{{- $subject := dict "kind" "ServiceAccount" "name" $name "namespace" $namespace -}}
---
{{ dict "apiVersion" "v1" "kind" "ServiceAccount" "metadata" $metadata "automountServiceAccountToken" false | toYaml }}
---
{{ dict "apiVersion" "rbac.authorization.k8s.io/v1" "kind" "Role" "metadata" $metadata "rules" .rules | toYaml }}
---
{{ dict "apiVersion" "rbac.authorization.k8s.io/v1" "kind" "RoleBinding" "metadata" $metadata "roleRef" $role "subjects" (list $subject) | toYaml }}
{{- end -}}
