{{- define "schemahold.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of everything we create. A release called schemahold gives plain "schemahold". 50 characters leave room for suffixes. */}}
{{- define "schemahold.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "schemahold.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "schemahold.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What all our objects carry. The uninstall hook finds the admission policies by the first two. */}}
{{- define "schemahold.labels" -}}
app.kubernetes.io/name: {{ include "schemahold.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The operator's pods, and only they: the uninstall hook's pod has another component. */}}
{{- define "schemahold.selectorLabels" -}}
app.kubernetes.io/name: {{ include "schemahold.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "schemahold.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "schemahold.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name must name an existing account when serviceAccount.create is false: the admission policies trust exactly that account" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The operator as the API server sees it. The admission policies let exactly this user approve a version. */}}
{{- define "schemahold.username" -}}
{{- printf "system:serviceaccount:%s:%s" .Release.Namespace (include "schemahold.serviceAccountName" .) -}}
{{- end -}}

{{- define "schemahold.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Pod Security "restricted". No runAsUser: the image names 65532, and OpenShift wants to choose its own. */}}
{{- define "schemahold.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "schemahold.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "schemahold.uninstallName" -}}
{{- include "schemahold.fullname" . }}-uninstall
{{- end -}}
