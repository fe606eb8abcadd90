{{/* The image of all pods. */}}
{{- define "sealpost.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}
{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels that tell whose an object is. */}}
{{- define "sealpost.release" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/*
The objects of a file of deploy/kubernetes, with the values over them.
root: the chart; file: below deploy/kubernetes; workload: values of its Deployment or StatefulSet; only: names, `-metrics`
or `-server-tls` behind them or not, if not all of the file's objects are wanted; add: a patch of its container, its pod
and its volumes.
*/}}
{{- define "sealpost.objects" -}}
{{- $root := .root -}}
{{- $part := . -}}
{{- range $text := regexSplit "(?m)^---$" ($root.Files.Get (printf "files/%s" .file)) -1 }}
{{- $object := fromYaml $text }}
{{- $name := trimSuffix "-metrics" (trimSuffix "-server-tls" $object.metadata.name) }}
{{- if or (not (hasKey $part "only")) (has $name $part.only) }}
{{- include "sealpost.place" (dict "root" $root "object" $object) }}
{{- if has $object.kind (list "Deployment" "StatefulSet") }}
{{- include "sealpost.deployment" (merge (dict "object" $object) $part) }}
{{- else if eq $object.kind "CustomResourceDefinition" }}
{{- /* With the kind, all channels of it would be deleted. */}}
{{- $_ := set $object.metadata "annotations" (merge (dict "helm.sh/resource-policy" "keep") ($object.metadata.annotations | default dict)) }}
{{- end }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where an object is: the namespace of the release in the place of knative-eventing, and whose it is. */}}
{{- define "sealpost.place" -}}
{{- $namespace := .root.Release.Namespace -}}
{{- $metadata := .object.metadata -}}
{{- if eq ($metadata.namespace | default "") "knative-eventing" }}{{ $_ := set $metadata "namespace" $namespace }}{{ end -}}
{{- $_ := set $metadata "labels" (merge (include "sealpost.release" .root | fromYaml) ($metadata.labels | default dict)) -}}
{{- range .object.subjects }}{{ if eq .namespace "knative-eventing" }}{{ $_ := set . "namespace" $namespace }}{{ end }}{{ end -}}
{{- if eq .object.kind "Certificate" -}}
{{- $names := list -}}
{{- range .object.spec.dnsNames }}{{ $names = append $names (replace ".knative-eventing.svc" (printf ".%s.svc" $namespace) .) }}{{ end -}}
{{- $_ := set .object.spec "dnsNames" $names -}}
{{- end -}}
{{- end -}}

{{/* A Deployment or StatefulSet: image, replicas, resources, and what is put over every pod. */}}
{{- define "sealpost.deployment" -}}
{{- $spec := .object.spec -}}
{{- $container := index $spec.template.spec.containers 0 -}}
{{- $workload := .workload | default dict -}}
{{- if hasKey $workload "replicas" }}{{ $_ := set $spec "replicas" (int $workload.replicas) }}{{ end -}}
{{- if dig "autoscaling" "by" "none" $workload | ne "none" }}{{ $_ := unset $spec "replicas" }}{{ end -}}
{{- with $workload.resources }}{{ $_ := set $container "resources" . }}{{ end -}}
{{- with .add -}}
{{- include "sealpost.merge" (dict "into" $container "key" "env" "items" .container.env) -}}
{{- include "sealpost.merge" (dict "into" $container "key" "volumeMounts" "items" .container.volumeMounts) -}}
{{- include "sealpost.merge" (dict "into" $spec.template.spec "key" "volumes" "items" .volumes) -}}
{{- range $key, $value := .pod }}{{ $_ := set $spec.template.spec $key $value }}{{ end -}}
{{- range $key, $value := .spec }}{{ $_ := set $spec $key $value }}{{ end -}}
{{- end -}}
{{- range $claim := $spec.volumeClaimTemplates -}}
{{- with $workload.size }}{{ $_ := set $claim.spec.resources.requests "storage" . }}{{ end -}}
{{- with $workload.storageClassName }}{{ $_ := set $claim.spec "storageClassName" . }}{{ end -}}
{{- end -}}
{{- with .secretName -}}
{{- range $container.env }}{{ with dig "valueFrom" "secretKeyRef" dict . }}{{ $_ := set . "name" $.secretName }}{{ end }}{{ end -}}
{{- range $spec.template.spec.volumes }}{{ with .secret }}{{ $_ := set . "secretName" $.secretName }}{{ end }}{{ end -}}
{{- end -}}
{{- /* What keeps events; ingress, filter and controllers keep none. */ -}}
{{- if eq $container.name "dispatcher" }}{{ include "sealpost.limits" (dict "root" .root "spec" $spec.template.spec) }}{{ end -}}
{{- include "sealpost.pod" (dict "root" .root "template" $spec.template) -}}
{{- end -}}

{{/* Adds to a list those items whose name is not in it yet, as a patch does. */}}
{{- define "sealpost.merge" -}}
{{- $names := list -}}
{{- range index .into .key }}{{ $names = append $names .name }}{{ end -}}
{{- $merged := index .into .key | default list -}}
{{- range .items }}{{ if not (has .name $names) }}{{ $merged = append $merged . }}{{ end }}{{ end -}}
{{- $_ := set .into .key $merged -}}
{{- end -}}

{{- define "sealpost.limits.name" -}}{{ .Release.Name }}-namespace-limits{{- end -}}

{{/* The file with limits of namespaces, as the component deploy/kubernetes/namespace-limits has it. */}}
{{- define "sealpost.limits" -}}
{{- if .root.Values.namespaceLimits -}}
{{- $patch := .root.Files.Get "files/namespace-limits/mount.yaml" | fromYaml -}}
{{- $added := $patch.spec.template.spec -}}
{{- range $added.volumes }}{{ $_ := set .configMap "name" (include "sealpost.limits.name" $.root) }}{{ end -}}
{{- $container := index .spec.containers 0 -}}
{{- $adds := index $added.containers 0 -}}
{{- include "sealpost.merge" (dict "into" $container "key" "env" "items" $adds.env) -}}
{{- include "sealpost.merge" (dict "into" $container "key" "volumeMounts" "items" $adds.volumeMounts) -}}
{{- include "sealpost.merge" (dict "into" .spec "key" "volumes" "items" $added.volumes) -}}
{{- end -}}
{{- end -}}

{{/* Adds items of the value pod.KEY to a list, which has each name or path once. */}}
{{- define "sealpost.more" -}}
{{- $all := index .into .key | default list -}}
{{- $taken := list -}}
{{- range $all }}{{ $taken = append $taken (index . $.by) }}{{ end -}}
{{- range .items -}}
{{- $one := index . $.by -}}
{{- if has $one $taken }}{{ fail (printf "pod.%s: there is already one with the %s %s: choose another one" $.key $.by $one) }}{{ end -}}
{{- $taken = append $taken $one -}}
{{- $all = append $all . -}}
{{- end -}}
{{- if $all }}{{ $_ := set .into .key $all }}{{ end -}}
{{- end -}}

{{/* What is put over every pod. */}}
{{- define "sealpost.pod" -}}
{{- $values := .root.Values -}}
{{- $spec := .template.spec -}}
{{- $container := index $spec.containers 0 -}}
{{- $_ := set $container "image" (include "sealpost.image" .root) -}}
{{- with $values.image.pullPolicy }}{{ $_ := set $container "imagePullPolicy" . }}{{ end -}}
{{- with $values.imagePullSecrets }}{{ $_ := set $spec "imagePullSecrets" . }}{{ end -}}
{{- with $values.systemEvents }}{{ $_ := set $container "env" (append $container.env (dict "name" "SEALPOST_SYSTEM_EVENTS" "value" .)) }}{{ end -}}
{{- with $values.pod.env }}{{ $_ := set $container "env" (concat $container.env .) }}{{ end -}}
{{- include "sealpost.more" (dict "into" $spec "key" "volumes" "by" "name" "items" $values.pod.volumes) -}}
{{- include "sealpost.more" (dict "into" $container "key" "volumeMounts" "by" "mountPath" "items" $values.pod.volumeMounts) -}}
{{- with $values.pod.affinity }}{{ $_ := set $spec "affinity" . }}{{ end -}}
{{- with $values.pod.annotations }}{{ $_ := set $.template.metadata "annotations" . }}{{ end -}}
{{- with $values.pod.nodeSelector }}{{ $_ := set $spec "nodeSelector" . }}{{ end -}}
{{- with $values.pod.tolerations }}{{ $_ := set $spec "tolerations" . }}{{ end -}}
{{- with $values.pod.priorityClassName }}{{ $_ := set $spec "priorityClassName" . }}{{ end -}}
{{- end -}}

{{/* The Deployments of deploy/kubernetes that are enabled, as a list in JSON. */}}
{{- define "sealpost.enabled" -}}
{{- $names := list -}}
{{- with .Values.knative -}}
{{- if .imcDispatcher.enabled }}{{ $names = append $names "imc-dispatcher" }}{{ end -}}
{{- if .mtBrokerIngress.enabled }}{{ $names = append $names "mt-broker-ingress" }}{{ end -}}
{{- if .mtBrokerFilter.enabled }}{{ $names = append $names "mt-broker-filter" }}{{ end -}}
{{- end -}}
{{- if .Values.rabbitmqChannel.enabled }}{{ $names = concat $names (list "sealpost-rabbitmq-dispatcher" "sealpost-rabbitmq-controller") }}{{ end -}}
{{- if .Values.diskChannel.enabled }}{{ $names = concat $names (list "sealpost-disk-dispatcher" "sealpost-disk-controller") }}{{ end -}}
{{- toJson $names -}}
{{- end -}}
