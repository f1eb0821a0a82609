{{- define "keyturn.name" -}}
{{- if contains "keyturn" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-keyturn{{ end }}
{{- end }}

{{- define "keyturn.selector" -}}
app.kubernetes.io/name: keyturn
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "keyturn.labels" -}}
{{ include "keyturn.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "keyturn.checked" -}}
{{- $given := concat (keys .Values.settings) .Values.secret.settings -}}
{{- range list "KEYTURN_PUBLIC_URL" "KEYTURN_REDIS_URL" "KEYTURN_SECRET_KEYS" }}
{{- if not (has . $given) }}{{ fail (printf "%s is missing: add it to settings, or to the Secret and to secret.settings" .) }}{{ end }}
{{- end }}
{{- range .Values.secret.settings }}
{{- if hasKey $.Values.settings . }}{{ fail (printf "%s stands in settings and in secret.settings: keep one" .) }}{{ end }}
{{- end }}
{{- end }}

{{- /* A Deployment: root, name, command, replicas (none: KEDA's), resources, ports, probes, drains. */ -}}
{{- define "keyturn.deployment" -}}
{{- $ := .root }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "keyturn.name" $ }}-{{ .name }}
  labels:
    {{- include "keyturn.labels" $ | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
spec:
  {{- with .replicas }}
  replicas: {{ . }}
  {{- end }}
  revisionHistoryLimit: 3
  strategy:
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  selector:
    matchLabels:
      {{- include "keyturn.selector" $ | nindent 6 }}
      app.kubernetes.io/component: {{ .name }}
  template:
    metadata:
      labels:
        {{- include "keyturn.labels" $ | nindent 8 }}
        app.kubernetes.io/component: {{ .name }}
        {{- with $.Values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        checksum/settings: {{ toJson $.Values.settings | sha256sum }}
        {{- with $.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "keyturn.name" $ }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ $.Values.terminationGracePeriodSeconds }}
      {{- with $.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $.Values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- with $.Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $.Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $.Values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "keyturn.selector" $ | nindent 14 }}
              app.kubernetes.io/component: {{ .name }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        seccompProfile: {type: RuntimeDefault}
      containers:
        - name: {{ .name }}
          image: {{ printf "%s:%s" $.Values.image.repository ($.Values.image.tag | default $.Chart.AppVersion) }}
          imagePullPolicy: {{ $.Values.image.pullPolicy }}
          command: {{ toJson .command }}
          envFrom:
            - configMapRef: {name: {{ include "keyturn.name" $ }}}
          env:
            {{- range $.Values.secret.settings }}
            - name: {{ . }}_FILE
              value: /run/secrets/keyturn/{{ . }}
            {{- end }}
          {{- with .ports }}
          ports:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- toYaml .probes | nindent 10 }}
          {{- if .drains }}
          lifecycle:
            preStop: {exec: {command: [sleep, "5"]}}  # until no balancer sends new calls here
          {{- end }}
          resources:
            {{- toYaml .resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            - {name: data, mountPath: /data}
            - {name: secrets, mountPath: /run/secrets/keyturn, readOnly: true}
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: 1Gi}
        - name: data
          emptyDir: {sizeLimit: 1Gi}
        - name: secrets
          secret:
            secretName: {{ $.Values.secret.name }}
            defaultMode: 0440
            items:
              {{- range $.Values.secret.settings }}
              - {key: {{ . }}, path: {{ . }}}
              {{- end }}
{{- end }}
