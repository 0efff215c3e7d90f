"""The street's GLSL that surfaces share: light, motion, vertex stages; and sky, shadows and the camera's sensor.

Every program that draws writes two targets: display values with the class id in alpha, and the pixel's true motion.
"""

from __future__ import annotations

HEADER = '#version 330 core\n'

LIGHT = """
uniform vec3 u_eye;            // camera position (m)
uniform vec3 u_sun;            // unit vector towards the sun
uniform vec3 u_sun_colour;
uniform vec3 u_sky_up;         // light from above
uniform vec3 u_sky_side;       // light from the horizon, also the colour of the haze
uniform vec3 u_bounce;         // light from the ground
uniform float u_haze;          // 1/m
uniform float u_exposure;
uniform float u_wet;           // 0 dry .. 1 wet
uniform float u_lamps;         // 0 day .. 1 lights are on
uniform vec2 u_size;           // size of the target (px)
uniform sampler2D u_noise;
uniform sampler2DShadow u_shadow;
uniform mat4 u_to_sun;
uniform float u_shadow_depth;  // 0 no shadows .. 1 sun fully hidden

float sunlight(vec3 at, vec3 normal) {
    vec3 q = (u_to_sun * vec4(at + normal * 0.06, 1.0)).xyz * 0.5 + 0.5;
    float inside = step(abs(q.x - 0.5), 0.495) * step(abs(q.y - 0.5), 0.495);
    SHADOW_LOOKUP
    return 1.0 - u_shadow_depth * inside * (1.0 - seen);
}

vec3 skylight(vec3 d) {
    return mix(mix(u_bounce, u_sky_side, smoothstep(-0.25, 0.12, d.z)), u_sky_up, smoothstep(0.05, 0.9, d.z));
}

vec3 shade(vec3 albedo, vec3 normal, vec3 at, float gloss, float lit) {
    vec3 view = normalize(u_eye - at);
    float facing = max(dot(normal, view), 0.0);
    vec3 mirror = reflect(-view, normal);
    float towards = max(dot(normal, u_sun), 0.0) * lit;
    float above = 0.5 + 0.5 * normal.z;
    vec3 ambient = mix(u_bounce, mix(u_sky_side, u_sky_up, 0.5 * above + 0.2), above);
    float low = 0.72 + 0.28 * clamp(at.z * 0.8, 0.0, 1.0);          // things are darker towards the ground
    vec3 colour = albedo * (ambient * low + u_sun_colour * towards);
    float graze = 1.0 - facing;
    float fresnel = gloss * (0.05 + 0.75 * graze * graze * graze * graze);
    float spot = max(dot(mirror, u_sun), 0.0);
    spot *= spot; spot *= spot; spot *= spot; spot *= spot;
    return mix(colour, skylight(mirror) * 0.9, fresnel) + u_sun_colour * (gloss * spot * spot * 1.6 * lit);
}

vec3 film(vec3 c) {            // linear light to display values: a toe, a straight part, a shoulder
    return sqrt(clamp(c * (2.51 * c + 0.03) / (c * (2.43 * c + 0.59) + 0.14), 0.0, 1.0));
}

vec4 finish(vec3 colour, vec3 at, float label) {
    float d = length(at - u_eye);
    float clear = exp(-d * u_haze);
    colour = mix(u_sky_side * 0.92, colour, clear) * u_exposure;
    return vec4(film(colour), label / 255.0);
}
"""

HARD_LIGHT = LIGHT.replace('sampler2DShadow', 'sampler2D').replace(
    'SHADOW_LOOKUP',
    'float seen = step(q.z - 0.0012, texelFetch(u_shadow, ivec2(clamp(q.xy, 0.0, 0.999) * 1024.0), 0).r);',
)
"""One sample of the shadow map: enough for things whose shaded parts are small."""

LIGHT = LIGHT.replace('SHADOW_LOOKUP', 'float seen = texture(u_shadow, vec3(q.xy, q.z - 0.0012));')

MOTION = """
vec2 moved(vec3 before) {      // before: clip x, y, w of this surface point one frame ago
    float w = max(before.z, 0.02);
    return gl_FragCoord.xy - (before.xy / w * 0.5 + 0.5) * u_size;
}
"""

VERTEX = (
    HEADER
    + """
uniform mat4 u_clip_now;
uniform mat4 u_clip_before;
in vec3 in_pos;
in vec3 in_normal;
in vec3 in_uvw;
in vec4 in_colour;             // rgb, gloss
in uvec4 in_info;              // class, colour slot, kind, grain
in vec4 now0; in vec4 now1; in vec4 now2;
in vec4 before0; in vec4 before1; in vec4 before2;
in vec4 extent;                // scale of the mesh (m), seed
in vec4 paint_a;               // rgb, class
in vec4 paint_b;               // rgb, how much the lights of this thing are on
out vec3 v_at;
out vec3 v_normal;
out vec3 v_uvw;
out vec3 v_before;
flat out vec4 v_colour;
flat out vec4 v_info;          // class, seed, kind, grain
flat out float v_glow;

void main() {
    vec4 p = vec4(in_pos * extent.xyz, 1.0);
    vec3 at = vec3(dot(now0, p), dot(now1, p), dot(now2, p));
    vec4 was = vec4(dot(before0, p), dot(before1, p), dot(before2, p), 1.0);
    vec3 n = in_normal / extent.xyz;
    v_at = at;
    v_normal = vec3(dot(now0.xyz, n), dot(now1.xyz, n), dot(now2.xyz, n));
    v_uvw = in_uvw * extent.xyz;
    v_before = (u_clip_before * was).xyw;
    float a = float(in_info.y == 1u);
    float b = float(in_info.y == 2u);
    v_colour = vec4(in_colour.rgb * (1.0 - a - b) + paint_a.rgb * a + paint_b.rgb * b, in_colour.a);
    v_info = vec4(in_info.x == 254u ? paint_a.w : float(in_info.x), extent.w, float(in_info.z),
                  float(in_info.w) / 255.0);
    v_glow = paint_b.w;
    gl_Position = u_clip_now * vec4(at, 1.0);
    HOUSE
}
"""
)

_HOUSE = """float house = floor(in_uvw.z + 0.5);
    v_house = vec4(hash(house), hash(house + 3.7), hash(house + 9.1), hash(house + 5.3));
    v_number = vec2(house, hash(house + 1.9));"""

FACADE_VERTEX = VERTEX.replace(
    'void main',
    'flat out vec4 v_house;\nflat out vec2 v_number;\n'
    'float hash(float x) { return fract(sin(x * 127.1) * 43758.547); }\nvoid main',
).replace('HOUSE', _HOUSE)
"""Facades: what all pixels of a house share is found once a corner."""

VERTEX = VERTEX.replace('    HOUSE\n', '')

SKY_VERTEX = (
    HEADER
    + """
uniform mat4 u_rays;           // clip to world direction
in vec2 in_pos;
out vec3 v_ray;
void main() {
    vec4 far = u_rays * vec4(in_pos, 1.0, 1.0);
    v_ray = far.xyz;
    gl_Position = vec4(in_pos, 1.0, 1.0);
}
"""
)

SKY = (
    HEADER
    + LIGHT
    + MOTION
    + """
uniform mat4 u_turn_before;    // world direction to clip, one frame ago
uniform vec4 u_cloud;          // cover, offset, offset, softness
in vec3 v_ray;
layout(location = 0) out vec4 out_colour;
layout(location = 1) out vec2 out_motion;
void main() {
    vec3 d = normalize(v_ray);
    float h = max(d.z, 0.0);
    vec3 colour = mix(u_sky_side, u_sky_up, 1.0 - exp(-h * 3.2));
    vec2 q = d.xy / (h + 0.16);
    float n = texture(u_noise, q * 0.035 + u_cloud.yz).g * 0.62 + texture(u_noise, q * 0.11 + u_cloud.zy).g * 0.28
            + texture(u_noise, q * 0.4 + u_cloud.yz).r * 0.10;
    float cover = smoothstep(0.62 - u_cloud.x * 0.42, 0.62 - u_cloud.x * 0.42 + u_cloud.w, n);
    float thick = smoothstep(0.45, 0.85, n);
    vec3 cloud = mix(u_sky_side * 1.25 + u_sun_colour * 0.12, u_sky_side * 0.62, thick);
    colour = mix(colour, cloud, cover * smoothstep(-0.02, 0.12, d.z) * 0.92);
    float s = max(dot(d, u_sun), 0.0);
    colour += u_sun_colour * (0.12 * pow(s, 6.0) + 0.9 * pow(s, 180.0)) * (1.0 - 0.7 * cover);
    colour = mix(u_sky_side, colour, smoothstep(-0.01, 0.08, d.z));
    colour *= u_exposure;
    out_colour = vec4(film(colour), 10.0 / 255.0);
    out_motion = moved((u_turn_before * vec4(d, 0.0)).xyw);
}
"""
)

DEPTH_VERTEX = (
    HEADER
    + """
uniform mat4 u_to_sun;
in vec3 in_pos;
in vec4 now0; in vec4 now1; in vec4 now2;
in vec4 extent;
void main() {
    vec4 p = vec4(in_pos * extent.xyz, 1.0);
    gl_Position = u_to_sun * vec4(dot(now0, p), dot(now1, p), dot(now2, p), 1.0);
}
"""
)

DEPTH = HEADER + 'void main() {}\n'

FULL_VERTEX = (
    HEADER
    + """
in vec2 in_pos;
void main() { gl_Position = vec4(in_pos, 0.0, 1.0); }
"""
)

DEVELOP = (
    HEADER
    + """
// From 4 samples a pixel to the picture of a camera: light is averaged; the label is that of most samples, and the
// motion is taken from a sample that carries this label. Nothing is blended across an edge.
uniform sampler2DMS u_light;
uniform sampler2DMS u_motion;
uniform ivec2 u_shape;
uniform vec3 u_cast;
uniform vec4 u_tone;           // contrast, saturation, black, vignette
uniform vec4 u_sensor;         // noise, blur, frame number, noise of dark parts
layout(location = 0) out vec4 out_colour;
layout(location = 1) out vec2 out_motion;
float hash(uvec3 v) {
    v = v * 1664525u + 1013904223u;
    v.x += v.y * v.z; v.y += v.z * v.x; v.z += v.x * v.y;
    v ^= v >> 16u;
    v.x += v.y * v.z;
    return float(v.x & 0xffffu) / 65535.0;
}
void main() {
    ivec2 p = ivec2(gl_FragCoord.xy);
    ivec2 last = u_shape - 1;
    vec4 a = texelFetch(u_light, p, 0);
    vec4 b = texelFetch(u_light, p, 1);
    vec4 c = texelFetch(u_light, p, 2);
    vec4 d = texelFetch(u_light, p, 3);
    vec4 l = vec4(a.a, b.a, c.a, d.a);
    vec3 votes = vec3(float(l.x == l.y) + float(l.x == l.z) + float(l.x == l.w),
                 float(l.y == l.x) + float(l.y == l.z) + float(l.y == l.w),
                 float(l.z == l.x) + float(l.z == l.y) + float(l.z == l.w));
    int pick = 0;
    float label = l.x, best = votes.x;
    if (votes.y > best) { best = votes.y; label = l.y; pick = 1; }
    if (votes.z > best) { best = votes.z; label = l.z; pick = 2; }
    vec3 mean = (a.rgb + b.rgb + c.rgb + d.rgb) * 0.25;
    vec3 around = (texelFetch(u_light, clamp(p + ivec2(-1, 0), ivec2(0), last), 1).rgb
                 + texelFetch(u_light, clamp(p + ivec2(1, 0), ivec2(0), last), 2).rgb
                 + texelFetch(u_light, clamp(p + ivec2(0, -1), ivec2(0), last), 3).rgb
                 + texelFetch(u_light, clamp(p + ivec2(0, 1), ivec2(0), last), 0).rgb) * 0.25;
    vec3 colour = mix(mean, around, u_sensor.y);
    vec2 r = gl_FragCoord.xy / vec2(u_shape) * 2.0 - 1.0;
    colour *= (1.0 - u_tone.w * dot(r, r) * 0.5) * u_cast;
    float grey = dot(colour, vec3(0.3, 0.59, 0.11));
    colour = mix(vec3(grey), colour, u_tone.y);
    colour = (colour - 0.45) * u_tone.x + 0.45 + u_tone.z;
    uvec3 key = uvec3(uvec2(gl_FragCoord.xy), uint(u_sensor.z));
    vec3 noise = vec3(hash(key), hash(key + 71u), hash(key + 193u))
               + vec3(hash(key + 311u), hash(key + 533u), hash(key + 877u)) - 1.0;
    colour += (noise * 0.6 + (noise.x + noise.y + noise.z) * 0.2)
            * (u_sensor.x + u_sensor.w * (1.0 - grey) * (1.0 - grey));
    out_colour = vec4(clamp(colour, 0.0, 1.0), label);
    out_motion = texelFetch(u_motion, p, pick).xy;
}
"""
)
