"""Both sides on one machine, with a relay between them that makes the cloud as far away as you say."""

from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

CLOUD = '127.0.0.1:7448'
RELAY = '127.0.0.1:7447'


def generate_launch_description() -> LaunchDescription:
    """For `ros2 launch dedelayed_ros demo.launch.py input:=clip.mp4 rtt_ms:=100`."""
    folder = PathJoinSubstitution([FindPackageShare('dedelayed_ros'), 'launch'])

    def include(name: str, **values: object) -> IncludeLaunchDescription:
        source = PythonLaunchDescriptionSource(PathJoinSubstitution([folder, name]))
        return IncludeLaunchDescription(source, launch_arguments=values.items())

    return LaunchDescription(
        [
            DeclareLaunchArgument('input', description='video file, folder of images, /dev/video0 or street:SEED'),
            DeclareLaunchArgument('loop', default_value='true', description='begin a file again at its end'),
            DeclareLaunchArgument('rtt_ms', default_value='100', description='round-trip time that is added (ms)'),
            DeclareLaunchArgument('composed', default_value='true', description='one process on the robot, or three'),
            DeclareLaunchArgument('rviz', default_value='false', description='show the masks'),
            include('cloud.launch.py', listen=f'tcp/{CLOUD}'),
            ExecuteProcess(
                cmd=['dedelayed', 'relay', '--listen', RELAY, '--to', CLOUD, '--rtt-ms', LaunchConfiguration('rtt_ms')],
                name='relay',
                output='screen',
            ),
            include(
                'edge.launch.py',
                input=LaunchConfiguration('input'),
                loop=LaunchConfiguration('loop'),
                composed=LaunchConfiguration('composed'),
                rviz=LaunchConfiguration('rviz'),
                endpoint=f'tcp/{RELAY}',
            ),
        ]
    )
